package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Name is what the plugin is dispensed by.
const Name = "bridge"

// Handshake is what `bridge plugin` expects of its host; its flags --cookie-key and --cookie-value name another one.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "TOOL_BRIDGE_PLUGIN",
	MagicCookieValue: "bridge.v1",
}

// Plugins are the plugins of a host that has no others.
var Plugins = plugin.PluginSet{Name: &Plugin{}}

// Plugin is the host's side of `bridge plugin`, for go-plugin.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
}

var _ plugin.GRPCPlugin = (*Plugin)(nil)

// GRPCClient makes a *[Client].
func (*Plugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return newClient(broker, conn), nil
}

// GRPCServer fails: the other side is Python's.
func (*Plugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("bridge: tools are served by `bridge plugin`, not by Go")
}

// Dispense starts the plugin, if it is not running yet, and connects to it.
func Dispense(host *plugin.Client) (*Client, error) {
	protocol, err := host.Client()
	if err != nil {
		return nil, err
	}
	dispensed, err := protocol.Dispense(Name)
	if err != nil {
		return nil, err
	}
	client, ok := dispensed.(*Client)
	if !ok {
		return nil, fmt.Errorf("bridge: the plugin %q of this host is a %T: use bridge.Plugins, or put a bridge.Plugin there", Name, dispensed)
	}
	return client, nil
}
