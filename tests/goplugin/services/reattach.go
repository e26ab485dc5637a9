package services

import (
	"fmt"
	"net"

	"github.com/hashicorp/go-plugin"
)

// Reattach is how to reach a running plugin, in the shape that Terraform's TF_REATTACH_PROVIDERS made common.
type Reattach struct {
	Protocol        string
	ProtocolVersion int
	Pid             int
	Test            bool
	Addr            struct{ Network, String string }
}

// ReattachOf says what go-plugin says.
func ReattachOf(config *plugin.ReattachConfig) Reattach {
	reattach := Reattach{
		Protocol: string(config.Protocol), ProtocolVersion: config.ProtocolVersion, Pid: config.Pid, Test: config.Test,
	}
	reattach.Addr.Network, reattach.Addr.String = config.Addr.Network(), config.Addr.String()
	return reattach
}

// Config is the same for go-plugin.
func (r Reattach) Config() (*plugin.ReattachConfig, error) {
	config := &plugin.ReattachConfig{
		Protocol: plugin.Protocol(r.Protocol), ProtocolVersion: r.ProtocolVersion, Pid: r.Pid, Test: r.Test,
	}
	var err error
	switch r.Addr.Network {
	case "unix":
		config.Addr, err = net.ResolveUnixAddr("unix", r.Addr.String)
	case "tcp":
		config.Addr, err = net.ResolveTCPAddr("tcp", r.Addr.String)
	default:
		err = fmt.Errorf("no network %q", r.Addr.Network)
	}
	return config, err
}
