// plugin is a plugin of go-plugin that behaves as its flags say, also badly.
//
// Without flags it serves all services as version 1 with the cookie BASIC_PLUGIN=hello.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"toolbridge.test/goplugin/services"
)

type settings struct {
	services.Options
	mode, line, noise, stderr, tlsClient string
	delay, linger                        time.Duration
	exitCode, maxMessage                 int
	noMultiplex, test                    bool
}

func main() {
	s := settings{}
	s.Declare()
	flag.StringVar(&s.mode, "mode", "serve", "serve, or what does not serve: "+modeNames())
	flag.StringVar(&s.line, "line", "", "the handshake line, with its end; serving, a template as in line.go")
	flag.StringVar(&s.noise, "noise", "", "written to stdout before the line")
	flag.StringVar(&s.stderr, "stderr", "", "written to stderr before the line; not serving, after it")
	flag.StringVar(&s.tlsClient, "tls-client", "require", "the host's certificate with static TLS: none, given or require")
	flag.DurationVar(&s.delay, "delay", 0, "before anything is written")
	flag.DurationVar(&s.linger, "linger", 0, "between the end of serving and the end of the process")
	flag.IntVar(&s.exitCode, "exit-code", 0, "at the end")
	flag.IntVar(&s.maxMessage, "max-message", 0, "bytes that a message to the plugin may have; 0: gRPC's 4 MiB")
	flag.BoolVar(&s.noMultiplex, "no-mux", false, "be as old as if there were no multiplexing: 6 segments at most")
	flag.BoolVar(&s.test, "test", false, "test mode: print what a host needs to reattach, as JSON; end at SIGTERM")
	flag.Parse()
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	time.Sleep(s.linger)
	os.Exit(s.exitCode)
}

func (s *settings) run() error {
	time.Sleep(s.delay)
	fmt.Print(s.noise)
	if s.mode != "serve" {
		return s.misbehave()
	}
	fmt.Fprint(os.Stderr, s.stderr)
	if s.noMultiplex {
		_ = os.Unsetenv("PLUGIN_MULTIPLEX_GRPC")
	}
	config, err := s.serveConfig()
	if err != nil {
		return err
	}
	if s.test {
		config.Test = testMode()
	} else if s.line != "" {
		if err := rewriteLine(s.line); err != nil {
			return err
		}
	}
	plugin.Serve(config)
	return nil
}

func (s *settings) serveConfig() (*plugin.ServeConfig, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	sets, err := s.Sets(logger)
	if err != nil {
		return nil, err
	}
	config := &plugin.ServeConfig{
		HandshakeConfig:  s.Handshake(),
		VersionedPlugins: sets,
		Logger:           logger,
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			if s.maxMessage > 0 {
				options = append(options, grpc.MaxRecvMsgSize(s.maxMessage))
			}
			return grpc.NewServer(options...)
		},
	}
	clients := map[string]tls.ClientAuthType{
		"none": tls.NoClientCert, "given": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
	}
	static, err := s.StaticTLS(clients[s.tlsClient])
	if err != nil {
		return nil, err
	}
	if static != nil {
		config.TLSProvider = func() (*tls.Config, error) { return static, nil }
	}
	return config, nil
}

// testMode has the plugin print how to reattach to it, and end when it is told by a signal.
func testMode() *plugin.ServeTestConfig {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	found := make(chan *plugin.ReattachConfig)
	go func() {
		text, err := json.Marshal(services.ReattachOf(<-found))
		if err != nil {
			panic(err)
		}
		fmt.Println(string(text))
	}()
	return &plugin.ServeTestConfig{Context: ctx, ReattachConfigCh: found}
}
