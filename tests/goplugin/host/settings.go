package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"toolbridge.test/goplugin/services"
)

type settings struct {
	services.Options
	autoMTLS, multiplex, skipHostEnv, run, managed, deaf bool
	startTimeout                                         time.Duration
	minPort, maxPort                                     uint
	maxMessage                                           int
	socketDir, group, reattach, checksum, protocols      string
	stdin, logFile                                       string
	env                                                  []string
}

func (s *settings) declare() {
	s.Declare()
	flag.BoolVar(&s.autoMTLS, "automtls", false, "certificates for this connection only")
	flag.BoolVar(&s.multiplex, "mux", false, "all through one socket")
	flag.BoolVar(&s.skipHostEnv, "skip-host-env", false, "the plugin gets no environment of ours")
	flag.Func("env", "NAME=VALUE for the plugin; may come often", func(pair string) error {
		s.env = append(s.env, pair)
		return nil
	})
	flag.DurationVar(&s.startTimeout, "start-timeout", 0, "for the handshake line; 0: a minute")
	flag.UintVar(&s.minPort, "min-port", 0, "of TCP; both 0: 10000 to 25000")
	flag.UintVar(&s.maxPort, "max-port", 0, "")
	flag.IntVar(&s.maxMessage, "max-message", 0, "bytes that a message to us may have; 0: 2 GiB")
	flag.BoolVar(&s.run, "runner", false, "start the plugin by a RunnerFunc: it gets PLUGIN_UNIX_SOCKET_DIR")
	flag.StringVar(&s.socketDir, "socket-dir", "", "UnixSocketConfig: in which that folder is made")
	flag.StringVar(&s.group, "group", "", "UnixSocketConfig: name or number")
	flag.StringVar(&s.reattach, "reattach", "", "JSON as from the step reattach_config, in place of a command")
	flag.StringVar(&s.checksum, "checksum", "", "SHA-256 of the plugin's file, in hex")
	flag.StringVar(&s.protocols, "protocols", "grpc", "that are allowed")
	flag.BoolVar(&s.managed, "managed", false, "the step cleanup ends the plugin")
	flag.BoolVar(&s.deaf, "deaf", false, "never take what the plugin prints")
	flag.StringVar(&s.stdin, "stdin", os.DevNull, "file that is the plugin's stdin")
	flag.StringVar(&s.logFile, "log", "", "file for the log as JSON lines, also when the host is killed")
}

// client is the configuration that the flags make, for what comes after them.
func (s *settings) client(h *host) (*plugin.ClientConfig, error) {
	logger, err := h.logger(s.logFile)
	if err != nil {
		return nil, err
	}
	sets, err := s.Sets(logger)
	if err != nil {
		return nil, err
	}
	if os.Stdin, err = os.Open(s.stdin); err != nil {
		return nil, err
	}
	config := &plugin.ClientConfig{
		HandshakeConfig:     s.Handshake(),
		VersionedPlugins:    sets,
		AutoMTLS:            s.autoMTLS,
		GRPCBrokerMultiplex: s.multiplex,
		SkipHostEnv:         s.skipHostEnv,
		StartTimeout:        s.startTimeout,
		MinPort:             s.minPort,
		MaxPort:             s.maxPort,
		Managed:             s.managed,
		Logger:              logger,
		Stderr:              &h.stderr,
		SyncStdout:          &h.syncStdout,
		SyncStderr:          &h.syncStderr,
		UnixSocketConfig:    &plugin.UnixSocketConfig{Group: s.group, TempDir: s.socketDir},
	}
	for protocol := range strings.SplitSeq(s.protocols, ",") {
		config.AllowedProtocols = append(config.AllowedProtocols, plugin.Protocol(protocol))
	}
	if s.deaf {
		config.SyncStdout, config.SyncStderr = deaf{}, deaf{}
	}
	if s.maxMessage > 0 {
		limit := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(s.maxMessage))
		config.GRPCDialOptions = []grpc.DialOption{limit}
	}
	if config.TLSConfig, err = s.StaticTLS(tls.RequireAndVerifyClientCert); err != nil {
		return nil, err
	}
	if s.checksum != "" {
		sum, err := hex.DecodeString(s.checksum)
		if err != nil {
			return nil, err
		}
		config.SecureConfig = &plugin.SecureConfig{Checksum: sum, Hash: sha256.New()}
	}
	return config, s.whatToRun(h, config)
}

func (s *settings) whatToRun(h *host, config *plugin.ClientConfig) error {
	if s.reattach != "" {
		reattach := services.Reattach{}
		if err := json.Unmarshal([]byte(s.reattach), &reattach); err != nil {
			return err
		}
		for _, config.Plugins = range config.VersionedPlugins { // which one is not negotiated with a running plugin
			break
		}
		var err error
		config.Reattach, err = reattach.Config()
		return err
	}
	h.command = exec.Command(flag.Arg(0), flag.Args()[1:]...)
	h.command.Env = s.env
	if !s.run {
		config.Cmd = h.command
		return nil
	}
	config.RunnerFunc = func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
		h.command.Env = append(h.command.Env, spec.Env...)
		h.command.Stdin = spec.Stdin
		return newProcess(h.command)
	}
	return nil
}

// deaf takes nothing, for ever.
type deaf struct{}

func (deaf) Write([]byte) (int, error) { select {} }

var _ io.Writer = deaf{}
