package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"toolbridge.test/goplugin/services"
	"toolbridge.test/goplugin/wire"
)

// with is a step that needs a service.
func with[R any](h *host, service string, do func(context.Context, *services.Connection) (R, error)) (any, error) {
	connection, err := h.dispense(service)
	if err != nil {
		return nil, err
	}
	return do(context.Background(), connection)
}

func put(h *host, a *arguments) (any, error) {
	return with(h, "kv", func(ctx context.Context, c *services.Connection) (any, error) {
		_, err := wire.NewKVClient(c.Conn).Put(ctx, &wire.PutRequest{Key: a.Key, Value: a.Value})
		return nil, err
	})
}

func get(h *host, a *arguments) (any, error) {
	return with(h, "kv", func(ctx context.Context, c *services.Connection) ([]byte, error) {
		response, err := wire.NewKVClient(c.Conn).Get(ctx, &wire.GetRequest{Key: a.Key})
		return append([]byte{}, response.GetValue()...), err
	})
}

// big puts a value of that size and gets it back.
func big(h *host, a *arguments) (any, error) {
	return with(h, "kv", func(ctx context.Context, c *services.Connection) (any, error) {
		client, value := wire.NewKVClient(c.Conn), bytes.Repeat([]byte("big "), a.Size/4)
		if _, err := client.Put(ctx, &wire.PutRequest{Key: "big", Value: value}); err != nil {
			return nil, err
		}
		response, err := client.Get(ctx, &wire.GetRequest{Key: "big"})
		if err == nil && !bytes.Equal(response.Value, value) {
			err = fmt.Errorf("other bytes came back")
		}
		return len(response.GetValue()), err
	})
}

// count has the plugin add a number, so often, each time with a helper of its own behind the broker.
func count(h *host, a *arguments) (any, error) {
	return with(h, "counter", func(ctx context.Context, c *services.Connection) (any, error) {
		helper := &services.AddHelper{}
		for range max(1, a.Times) {
			if err := countOnce(ctx, c, helper, a); err != nil {
				return nil, err
			}
		}
		response, err := wire.NewCounterClient(c.Conn).Get(ctx, &wire.CounterGetRequest{Key: a.Key})
		return object{"value": response.GetValue(), "sums": helper.Calls.Load()}, err
	})
}

func countOnce(ctx context.Context, c *services.Connection, helper *services.AddHelper, a *arguments) error {
	id := c.Broker.NextId()
	serving, ended := make(chan *grpc.Server, 1), make(chan struct{})
	go func() {
		defer close(ended)
		c.Broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			server := grpc.NewServer(options...)
			wire.RegisterAddHelperServer(server, helper)
			serving <- server
			return server
		})
	}()
	request := &wire.CounterPutRequest{AddServer: id, Key: a.Key, Value: a.Number}
	_, err := wire.NewCounterClient(c.Conn).Put(ctx, request)
	select {
	case server := <-serving:
		server.Stop()
		<-ended
	case <-ended:
	}
	return err
}

func counterGet(h *host, a *arguments) (any, error) {
	return with(h, "counter", func(ctx context.Context, c *services.Connection) (any, error) {
		response, err := wire.NewCounterClient(c.Conn).Get(ctx, &wire.CounterGetRequest{Key: a.Key})
		return response.GetValue(), err
	})
}

// helper asks a service that the plugin has behind the broker.
func helper(h *host, a *arguments) (any, error) {
	return with(h, "probe", func(ctx context.Context, c *services.Connection) (any, error) {
		offer, err := wire.NewProbeClient(c.Conn).OfferHelper(ctx, &wire.OfferHelperRequest{})
		if err != nil {
			return nil, err
		}
		return sum(ctx, c, offer.ServiceId, a.Number)
	})
}

// dial asks one behind an id that may be nobody's.
func dial(h *host, a *arguments) (any, error) {
	return with(h, "probe", func(ctx context.Context, c *services.Connection) (any, error) {
		return sum(ctx, c, uint32(a.Number), 1)
	})
}

func sum(ctx context.Context, c *services.Connection, id uint32, number int64) (int64, error) {
	conn, err := c.Broker.Dial(id)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	response, err := wire.NewAddHelperClient(conn).Sum(ctx, &wire.SumRequest{A: number, B: number})
	return response.GetR(), err
}

// stream counts what the plugin sends, and checks that it is in order.
func stream(h *host, a *arguments) (any, error) {
	return with(h, "streamer", func(ctx context.Context, c *services.Connection) (any, error) {
		request := &wire.CountRequest{Chunks: uint32(a.Times), ChunkBytes: uint32(a.Size)}
		chunks, err := wire.NewStreamerClient(c.Conn).Count(ctx, request)
		if err != nil {
			return nil, err
		}
		for number := 0; ; number++ {
			chunk, err := chunks.Recv()
			if errors.Is(err, io.EOF) {
				return number, nil
			}
			if err != nil {
				return nil, err
			}
			if !bytes.Equal(chunk.Data, services.Numbered(number, a.Size)) {
				return nil, fmt.Errorf("chunk %d is another", number)
			}
		}
	})
}

// collect sends so many chunks of that size.
func collect(h *host, a *arguments) (any, error) {
	return with(h, "streamer", func(ctx context.Context, c *services.Connection) (any, error) {
		chunks, err := wire.NewStreamerClient(c.Conn).Collect(ctx)
		if err != nil {
			return nil, err
		}
		for number := range a.Times {
			err := chunks.Send(&wire.Chunk{Data: services.Numbered(number, a.Size)})
			if err != nil && !errors.Is(err, io.EOF) { // io.EOF: what has failed is the answer
				return nil, err
			}
		}
		summary, err := chunks.CloseAndRecv()
		return object{"chunks": summary.GetChunks(), "bytes": summary.GetBytes()}, err
	})
}

// chat waits for each chunk to come back before it sends the next.
func chat(h *host, a *arguments) (any, error) {
	return with(h, "streamer", func(ctx context.Context, c *services.Connection) (any, error) {
		chunks, err := wire.NewStreamerClient(c.Conn).Chat(ctx)
		if err != nil {
			return nil, err
		}
		for number := range a.Times {
			data := services.Numbered(number, a.Size)
			if err := chunks.Send(&wire.Chunk{Data: data}); err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			chunk, err := chunks.Recv()
			if err != nil {
				return nil, err
			}
			if !bytes.Equal(chunk.Data, data) {
				return nil, fmt.Errorf("chunk %d came back as another", number)
			}
		}
		if err := chunks.CloseSend(); err != nil {
			return nil, err
		}
		if _, err := chunks.Recv(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the plugin does not end: %w", err)
		}
		return a.Times, nil
	})
}
