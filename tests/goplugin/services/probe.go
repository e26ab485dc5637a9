package services

import (
	"context"
	"os"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"toolbridge.test/goplugin/wire"
)

type probe struct {
	wire.UnimplementedProbeServer
	broker  *plugin.GRPCBroker
	logger  hclog.Logger
	version int
	hanging atomic.Int32
}

func (p *probe) Info(context.Context, *wire.InfoRequest) (*wire.InfoResponse, error) {
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	environment := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	return &wire.InfoResponse{
		Pid:         int64(os.Getpid()),
		Language:    "go",
		Arguments:   os.Args,
		Folder:      folder,
		Environment: environment,
		Hanging:     uint32(p.hanging.Load()),
		AppVersion:  uint32(p.version),
	}, nil
}

func (p *probe) Print(_ context.Context, request *wire.PrintRequest) (*wire.PrintResponse, error) {
	for range max(1, request.Times) {
		if _, err := os.Stdout.Write(request.Stdout); err != nil {
			return nil, err
		}
		if _, err := os.Stderr.Write(request.Stderr); err != nil {
			return nil, err
		}
	}
	return &wire.PrintResponse{}, nil
}

func (p *probe) Log(_ context.Context, request *wire.LogRequest) (*wire.LogResponse, error) {
	pairs := []any{}
	for key, value := range request.Pairs {
		pairs = append(pairs, key, value)
	}
	p.logger.Log(hclog.LevelFromString(request.Level), request.Message, pairs...)
	return &wire.LogResponse{}, nil
}

func (p *probe) Hang(ctx context.Context, _ *wire.HangRequest) (*wire.HangResponse, error) {
	p.hanging.Add(1)
	defer p.hanging.Add(-1)
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (p *probe) Panic(_ context.Context, request *wire.PanicRequest) (*wire.PanicResponse, error) {
	panic(request.Message)
}

func (p *probe) Exit(_ context.Context, request *wire.ExitRequest) (*wire.ExitResponse, error) {
	os.Exit(int(request.Code))
	return nil, nil
}

func (p *probe) OfferHelper(context.Context, *wire.OfferHelperRequest) (*wire.OfferHelperResponse, error) {
	id := p.broker.NextId()
	go p.broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		wire.RegisterAddHelperServer(server, &AddHelper{})
		return server
	})
	return &wire.OfferHelperResponse{ServiceId: id}, nil
}
