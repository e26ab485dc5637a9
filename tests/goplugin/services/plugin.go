// Package services holds what the plugin program serves and what the host program reaches.
package services

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"toolbridge.test/goplugin/wire"
)

// Names are those of all services, as plugins are dispensed by them.
var Names = []string{"kv", "counter", "streamer", "probe"}

// Connection is what every plugin gives when it is dispensed: callers make the stubs they want.
type Connection struct {
	Conn   *grpc.ClientConn
	Broker *plugin.GRPCBroker
}

// Plugin puts one service on a server.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
	register func(broker *plugin.GRPCBroker, server *grpc.Server)
}

// GRPCServer is called in the plugin.
func (p *Plugin) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	p.register(broker, server)
	return nil
}

// GRPCClient is called in the host.
func (p *Plugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Connection{Conn: conn, Broker: broker}, nil
}

// Set is what is served under a version. Services of one name in two sets have nothing in common.
func Set(version int, names []string, logger hclog.Logger) (plugin.PluginSet, error) {
	known := map[string]func(*plugin.GRPCBroker, *grpc.Server){
		"kv":      func(_ *plugin.GRPCBroker, s *grpc.Server) { wire.RegisterKVServer(s, newKV()) },
		"counter": func(b *plugin.GRPCBroker, s *grpc.Server) { wire.RegisterCounterServer(s, newCounter(b)) },
		"streamer": func(_ *plugin.GRPCBroker, s *grpc.Server) {
			wire.RegisterStreamerServer(s, streamer{})
		},
		"probe": func(b *plugin.GRPCBroker, s *grpc.Server) {
			wire.RegisterProbeServer(s, &probe{broker: b, logger: logger, version: version})
		},
	}
	set := plugin.PluginSet{}
	for _, name := range names {
		register, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("no service %q; there are %v", name, Names)
		}
		set[name] = &Plugin{register: register}
	}
	return set, nil
}
