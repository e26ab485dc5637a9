package main

import (
	"context"

	"toolbridge.test/goplugin/services"
	"toolbridge.test/goplugin/wire"
)

func probing(h *host, do func(context.Context, wire.ProbeClient) (any, error)) (any, error) {
	return with(h, "probe", func(ctx context.Context, c *services.Connection) (any, error) {
		return do(ctx, wire.NewProbeClient(c.Conn))
	})
}

func info(h *host, _ *arguments) (any, error) {
	return probing(h, func(ctx context.Context, probe wire.ProbeClient) (any, error) {
		info, err := probe.Info(ctx, &wire.InfoRequest{})
		if err != nil {
			return nil, err
		}
		return object{
			"pid": info.Pid, "language": info.Language, "arguments": info.Arguments, "folder": info.Folder,
			"environment": info.Environment, "hanging": info.Hanging, "app_version": info.AppVersion,
		}, nil
	})
}

func print(h *host, a *arguments) (any, error) {
	return probing(h, func(ctx context.Context, probe wire.ProbeClient) (any, error) {
		request := &wire.PrintRequest{Stdout: a.Stdout, Stderr: a.Stderr, Times: uint32(a.Times)}
		_, err := probe.Print(ctx, request)
		return nil, err
	})
}

func log(h *host, a *arguments) (any, error) {
	return probing(h, func(ctx context.Context, probe wire.ProbeClient) (any, error) {
		_, err := probe.Log(ctx, &wire.LogRequest{Level: a.Level, Message: a.Message, Pairs: a.Pairs})
		return nil, err
	})
}

func hang(h *host, _ *arguments) (any, error) {
	return probing(h, func(ctx context.Context, probe wire.ProbeClient) (any, error) {
		_, err := probe.Hang(ctx, &wire.HangRequest{})
		return nil, err
	})
}

func panicking(h *host, a *arguments) (any, error) {
	return probing(h, func(ctx context.Context, probe wire.ProbeClient) (any, error) {
		_, err := probe.Panic(ctx, &wire.PanicRequest{Message: a.Message})
		return nil, err
	})
}

func exit(h *host, a *arguments) (any, error) {
	return probing(h, func(ctx context.Context, probe wire.ProbeClient) (any, error) {
		_, err := probe.Exit(ctx, &wire.ExitRequest{Code: a.Code})
		return nil, err
	})
}
