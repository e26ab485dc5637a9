// Command example runs the tools of an adapter in Python as a plugin, and shows what a host can do with them.
//
//	go run ./example [-multiplex] -- bridge plugin example/shop.py
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/codes"

	"github.com/tool-bridge/tool-bridge/clients/go/bridge"
)

func main() {
	multiplex := flag.Bool("multiplex", false, "carry all connections over one socket")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "say how to start the plugin, as in: go run ./example -- bridge plugin example/shop.py")
		os.Exit(2)
	}
	if err := run(flag.Args(), *multiplex); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(command []string, multiplex bool) error {
	host := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:     bridge.Handshake,
		Plugins:             bridge.Plugins,
		Cmd:                 exec.Command(command[0], command[1:]...),
		AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:            true,
		GRPCBrokerMultiplex: multiplex,
		Logger:              hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Warn}),
	})
	defer host.Kill()
	tools, err := bridge.Dispense(host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, step := range []func(context.Context, *bridge.Client) error{list, call, stream, shop} {
		if err := step(ctx, tools); err != nil {
			return err
		}
	}
	return nil
}

func list(ctx context.Context, tools *bridge.Client) error {
	specs, err := tools.Tools(ctx)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		fmt.Printf("tool %s: %s\n", spec.Name, spec.Description)
	}
	return nil
}

// call shows a result, and an error.
func call(ctx context.Context, tools *bridge.Client) error {
	sum, err := tools.Call(ctx, "total", map[string]any{"cents": []int{35, 280}})
	if err != nil {
		return err
	}
	fmt.Println("total:", sum)

	_, err = tools.Call(ctx, "total", map[string]any{"cents": "many"})
	var wrong *bridge.Error
	if !errors.As(err, &wrong) || wrong.Code != codes.InvalidArgument || len(wrong.Violations) == 0 {
		return fmt.Errorf("wrong arguments were taken: %w", err)
	}
	fmt.Println("refused:", wrong.Violations[0].Field)
	return nil
}

// stream shows what a tool yields while it runs.
func stream(ctx context.Context, tools *bridge.Client) error {
	for number, err := range tools.Stream(ctx, "count_down", map[string]any{"start": 3}) {
		if err != nil {
			return err
		}
		fmt.Println("counting:", number)
	}
	return nil
}

// shop shows variables that the tools and this program share, and a function of this program that tools call.
func shop(ctx context.Context, tools *bridge.Client) error {
	host := &bridge.MemoryHost{}
	host.RegisterTool("price", "Price of an item in cents.", price)
	if err := tools.Attach(ctx, host); err != nil {
		return err
	}
	session := host.OpenSession()
	defer session.Close()
	if _, err := session.Set("basket", []string{"bread"}); err != nil {
		return err
	}
	if _, err := tools.Call(ctx, "put", map[string]any{"item": "apple"}, bridge.InSession(session.ID)); err != nil {
		return err
	}
	basket, err := session.Get("basket")
	if err != nil {
		return err
	}
	fmt.Println("basket:", basket)
	cents, err := tools.Call(ctx, "pay", nil, bridge.InSession(session.ID))
	if err != nil {
		return err
	}
	fmt.Println("to pay:", cents)
	return nil
}

var prices = map[string]int{"apple": 35, "bread": 280}

func price(_ context.Context, arguments map[string]any) (any, error) {
	item, _ := arguments["item"].(string)
	cents, isThere := prices[item]
	if !isThere {
		return nil, &bridge.Error{Code: codes.NotFound, Reason: "NO_ITEM", Message: "there is no such item: " + item}
	}
	return cents, nil
}
