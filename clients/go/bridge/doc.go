// Package bridge runs tools written in Python from programs written in Go, over go-plugin.
//
// The tools live in a process of their own, which go-plugin starts: `bridge plugin ADAPTER`. A program dispenses the
// plugin called [Name] and gets a [Client]:
//
//	host := plugin.NewClient(&plugin.ClientConfig{
//		HandshakeConfig:  bridge.Handshake,
//		Plugins:          bridge.Plugins,
//		Cmd:              exec.Command("bridge", "plugin", "my_tools.py"),
//		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
//		AutoMTLS:         true,
//	})
//	defer host.Kill()
//	tools, err := bridge.Dispense(host)
//	result, err := tools.Call(ctx, "add", map[string]any{"a": 2, "b": 3})
//
// [Pack] says which values of Go travel as what. [MemoryHost] keeps session variables for tools, and offers them
// functions of the program.
package bridge

//go:generate ../generate.sh
