package bridge

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/codes"
)

// commandVariable says how to start the plugin of the example; without it tests that need one are skipped.
const commandVariable = "TOOL_BRIDGE_PLUGIN_COMMAND"

// withPlugin runs a test with a plugin, in each way in which the two can be connected.
func withPlugin(t *testing.T, test func(t *testing.T, ctx context.Context, tools *Client)) {
	command := strings.Fields(os.Getenv(commandVariable))
	if len(command) == 0 {
		t.Skipf("needs %s, such as: bridge plugin ../example/shop.py", commandVariable)
	}
	for name, multiplex := range map[string]bool{"sockets": false, "multiplexed": true} {
		t.Run(name, func(t *testing.T) {
			host := plugin.NewClient(&plugin.ClientConfig{
				HandshakeConfig:     Handshake,
				Plugins:             Plugins,
				Cmd:                 exec.Command(command[0], command[1:]...),
				AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
				AutoMTLS:            true,
				GRPCBrokerMultiplex: multiplex,
				Logger:              hclog.NewNullLogger(),
			})
			t.Cleanup(host.Kill)
			tools, err := Dispense(host)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			t.Cleanup(cancel)
			test(t, ctx, tools)
		})
	}
}

// priced is a host whose every item costs the same.
func priced(cents int) *MemoryHost {
	host := &MemoryHost{}
	host.RegisterTool("price", "", func(context.Context, map[string]any) (any, error) { return cents, nil })
	return host
}

func attach(t *testing.T, ctx context.Context, tools *Client, host Host) {
	t.Helper()
	if err := tools.Attach(ctx, host); err != nil {
		t.Fatal(err)
	}
}

// pays says what a basket with one item costs in a new session of the host.
func pays(ctx context.Context, tools *Client, host *MemoryHost) (any, error) {
	session := host.OpenSession()
	defer session.Close()
	if _, err := session.Set("basket", []string{"apple"}); err != nil {
		return nil, err
	}
	return tools.Call(ctx, "pay", nil, InSession(session.ID))
}

func TestAHostIsAttachedLetGoAndAttachedAgain(t *testing.T) {
	withPlugin(t, func(t *testing.T, ctx context.Context, tools *Client) {
		for _, cents := range []int{35, 36} {
			host := priced(cents)
			attach(t, ctx, tools, host)
			if paid, err := pays(ctx, tools, host); err != nil || paid != int64(cents) {
				t.Fatal(paid, err)
			}
			tools.Detach()
			for range 3 {
				_, err := pays(ctx, tools, host)
				wants(t, err, codes.Unavailable, "HOST_UNAVAILABLE")
			}
		}
	})
}

func TestNoHostIsRefused(t *testing.T) {
	wants(t, newClient(nil, nil).Attach(limited(t), nil), codes.InvalidArgument, "INVALID_ARGUMENT")
}

func TestAHostThatIsNotAttachedInTimeIsNotAttached(t *testing.T) {
	withPlugin(t, func(t *testing.T, ctx context.Context, tools *Client) {
		first := priced(1)
		attach(t, ctx, tools, first)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		wants(t, tools.Attach(ended, priced(2)), codes.Canceled, "")
		if cents, err := pays(ctx, tools, first); err != nil || cents != int64(1) {
			t.Fatal(cents, err)
		}
	})
}

func TestAnotherHostTakesThePlaceOfTheFirst(t *testing.T) {
	withPlugin(t, func(t *testing.T, ctx context.Context, tools *Client) {
		first, second := priced(1), priced(2)
		attach(t, ctx, tools, first)
		attach(t, ctx, tools, second)
		if paid, err := pays(ctx, tools, second); err != nil || paid != int64(2) {
			t.Fatal(paid, err)
		}
		_, err := pays(ctx, tools, first)
		wants(t, err, codes.NotFound, "SESSION_NOT_FOUND")
	})
}

func TestAFunctionOfTheHostCallsToolsAndCirclesAreFound(t *testing.T) {
	withPlugin(t, func(t *testing.T, ctx context.Context, tools *Client) {
		host := &MemoryHost{}
		calls := "total"
		host.RegisterTool("price", "", func(ctx context.Context, _ map[string]any) (any, error) {
			return tools.Call(ctx, calls, map[string]any{"cents": []int{3, 4}})
		})
		attach(t, ctx, tools, host)
		if paid, err := pays(ctx, tools, host); err != nil || paid != int64(7) {
			t.Fatal(paid, err)
		}

		session := host.OpenSession()
		session.Set("basket", []string{"apple"})
		host.RegisterTool("price", "", func(ctx context.Context, _ map[string]any) (any, error) {
			return tools.Call(ctx, "pay", nil, InSession(session.ID))
		})
		_, err := tools.Call(ctx, "pay", nil, InSession(session.ID))
		wants(t, err, codes.FailedPrecondition, "CALL_CYCLE")
	})
}

func TestTheEndOfAContextReachesTheHostsFunction(t *testing.T) {
	withPlugin(t, func(t *testing.T, ctx context.Context, tools *Client) {
		host, ended := &MemoryHost{}, make(chan struct{})
		host.RegisterTool("price", "", func(ctx context.Context, _ map[string]any) (any, error) {
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		})
		attach(t, ctx, tools, host)
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := pays(short, tools, host); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-ctx.Done():
			t.Fatal("the function is still running")
		}
	})
}

func TestSessionsAreThePluginsOwnUntilAHostIsAttached(t *testing.T) {
	withPlugin(t, func(t *testing.T, ctx context.Context, tools *Client) {
		session, err := tools.OpenSession(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for want := range int64(2) {
			count, err := tools.Call(ctx, "put", map[string]any{"item": "apple"}, InSession(session))
			if err != nil || !reflect.DeepEqual(count, want+1) {
				t.Fatal(count, err)
			}
		}
		attach(t, ctx, tools, &MemoryHost{})
		_, err = tools.OpenSession(ctx)
		wants(t, err, codes.FailedPrecondition, "HOST_ATTACHED")
	})
}
