package bridge

import (
	"context"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// Attach lets tools ask this host for variables of sessions and for tools, through go-plugin's broker. It returns when
// the plugin is connected. What was attached before is let go; if it fails, that stays.
func (c *Client) Attach(ctx context.Context, host Host) error {
	if host == nil {
		return invalid("host", "is nil: give a Host, or Detach the one there is", "INVALID_ARGUMENT")
	}
	c.attaching.Lock()
	defer c.attaching.Unlock()
	id := c.broker.NextId()
	server, err := c.offer(ctx, id, &hostService{host: host})
	if err != nil {
		return errorOf(err)
	}
	if _, err := c.plugin.AttachHost(ctx, &bridgev1.AttachHostRequest{BrokerId: id}); err != nil {
		server.Stop()
		return errorOf(err)
	}
	if c.attached != nil {
		c.attached.Stop()
	}
	c.attached = server
	return nil
}

// Detach lets go of the host that is attached: what tools ask it for from then on is UNAVAILABLE.
func (c *Client) Detach() {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	if c.attached != nil {
		c.attached.Stop()
		c.attached = nil
	}
}

// offer serves the service on a connection of its own, as soon as the plugin makes one.
func (c *Client) offer(ctx context.Context, id uint32, service bridgev1.HostServiceServer) (*grpc.Server, error) {
	offered, failed := make(chan *grpc.Server, 1), make(chan struct{})
	go func() {
		defer close(failed)
		c.broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
			options = append(options, grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32))
			server := grpc.NewServer(options...)
			bridgev1.RegisterHostServiceServer(server, service)
			offered <- server
			return server
		})
	}()
	select {
	case server := <-offered:
		return server, nil
	case <-failed:
		message := "go-plugin's broker cannot listen: is the plugin still running?"
		return nil, &Error{Code: codes.Unavailable, Reason: "NOT_CONNECTED", Message: message}
	case <-ctx.Done():
		go func() {
			select {
			case server := <-offered:
				server.Stop()
			case <-failed:
			}
		}()
		return nil, ctx.Err()
	}
}
