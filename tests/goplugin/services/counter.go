package services

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-plugin"

	"toolbridge.test/goplugin/wire"
)

// counter adds up, with the arithmetic of who calls it.
type counter struct {
	wire.UnimplementedCounterServer
	broker *plugin.GRPCBroker
	lock   sync.Mutex
	values map[string]int64
}

func newCounter(broker *plugin.GRPCBroker) *counter {
	return &counter{broker: broker, values: map[string]int64{}}
}

func (c *counter) Get(_ context.Context, request *wire.CounterGetRequest) (*wire.CounterGetResponse, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	return &wire.CounterGetResponse{Value: c.values[request.Key]}, nil
}

func (c *counter) Put(ctx context.Context, request *wire.CounterPutRequest) (*wire.CounterEmpty, error) {
	conn, err := c.broker.Dial(request.AddServer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	c.lock.Lock()
	defer c.lock.Unlock()
	sum, err := wire.NewAddHelperClient(conn).Sum(ctx, &wire.SumRequest{A: c.values[request.Key], B: request.Value})
	if err != nil {
		return nil, err
	}
	c.values[request.Key] = sum.R
	return &wire.CounterEmpty{}, nil
}

// AddHelper adds, and counts how often it has done so.
type AddHelper struct {
	wire.UnimplementedAddHelperServer
	Calls atomic.Int64
}

// Sum is the service's one call.
func (a *AddHelper) Sum(_ context.Context, request *wire.SumRequest) (*wire.SumResponse, error) {
	a.Calls.Add(1)
	return &wire.SumResponse{R: request.A + request.B}, nil
}
