package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// connect serves services in memory.
func connect(t *testing.T, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	register(server)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(
		"passthrough:memory",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func connectHost(t *testing.T, host Host) bridgev1.HostServiceClient {
	t.Helper()
	return bridgev1.NewHostServiceClient(connect(t, func(server *grpc.Server) {
		bridgev1.RegisterHostServiceServer(server, &hostService{host: host})
	}))
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func packed(t *testing.T, value any) *anypb.Any {
	t.Helper()
	message, err := Pack(value)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func wants(t *testing.T, err error, code codes.Code, reason string) *Error {
	t.Helper()
	var known *Error
	if !errors.As(errorOf(err), &known) || known.Code != code || known.Reason != reason {
		t.Fatalf("got %v, want %s %s", err, code, reason)
	}
	return known
}

func TestAVariableThatAToolWritesIsReadByTheProgram(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	service, ctx := connectHost(t, host), limited(t)
	asTool := metadata.AppendToOutgoingContext(ctx, "bridge-changed-by", "tool:count")
	request := &bridgev1.SetVariableRequest{SessionId: session.ID, Name: "count", Value: packed(t, 1)}
	if response, err := service.SetVariable(asTool, request); err != nil || response.Version != 1 {
		t.Fatal(response, err)
	}
	if value, err := session.Get("count"); err != nil || value != int64(1) {
		t.Fatal(value, err)
	}
	if version, err := session.Set("count", 2); err != nil || version != 2 {
		t.Fatal(version, err)
	}
	response, err := service.GetVariable(ctx, &bridgev1.GetVariableRequest{SessionId: session.ID, Name: "count"})
	if err != nil || response.Variable.Version != 2 || response.Variable.ChangedBy != "host" || response.Variable.Type != "integer" {
		t.Fatal(response, err)
	}
}

func TestAWriteOfAnotherVersionIsRefusedAndSaysWhichThereIs(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	session.Set("x", "a")
	session.Set("x", "b")
	service := connectHost(t, host)
	request := &bridgev1.SetVariableRequest{SessionId: session.ID, Name: "x", Value: packed(t, "c"), ExpectedVersion: proto.Int64(1)}
	_, err := service.SetVariable(limited(t), request)
	refused := wants(t, err, codes.Aborted, "VERSION_MISMATCH")
	if refused.Metadata["current_version"] != "2" {
		t.Fatal(refused.Metadata)
	}
	if value, _ := session.Get("x"); value != "b" {
		t.Fatal(value)
	}
}

func TestVersionsGoOnAfterADeletion(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	session.Set("x", 1)
	service, ctx := connectHost(t, host), limited(t)
	if _, err := service.DeleteVariable(ctx, &bridgev1.DeleteVariableRequest{SessionId: session.ID, Name: "x"}); err != nil {
		t.Fatal(err)
	}
	_, err := session.Get("x")
	wants(t, err, codes.NotFound, "VARIABLE_NOT_FOUND")
	_, err = service.GetVariable(ctx, &bridgev1.GetVariableRequest{SessionId: session.ID, Name: "x"})
	wants(t, err, codes.NotFound, "VARIABLE_NOT_FOUND")
	if version, err := session.Set("x", "now text"); err != nil || version != 3 {
		t.Fatal(version, err)
	}
}

func TestAnAtomicBatchWithARefusalChangesNothing(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	session.Set("n", 1)
	service, ctx := connectHost(t, host), limited(t)
	request := &bridgev1.SetVariablesRequest{
		SessionId: session.ID,
		Updates:   map[string]*anypb.Any{"a": packed(t, 1), "n": packed(t, "no integer")},
		Atomic:    true,
	}
	_, err := service.SetVariables(ctx, request)
	wants(t, err, codes.InvalidArgument, "VALUE_REFUSED")
	_, err = session.Get("a")
	wants(t, err, codes.NotFound, "VARIABLE_NOT_FOUND")
	request.Atomic = false
	response, err := service.SetVariables(ctx, request)
	if err != nil || response.Versions["a"] != 1 || response.Failures["n"].GetReason() != "VALUE_REFUSED" {
		t.Fatal(response, err)
	}
}

func TestVariablesAreListedByPattern(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	for _, name := range []string{"job:2", "job:1", "other", "job.1"} {
		session.Set(name, 1)
	}
	service := connectHost(t, host)
	response, err := service.ListVariables(limited(t), &bridgev1.ListVariablesRequest{SessionId: session.ID, Pattern: "job:?"})
	if err != nil || len(response.Variables) != 2 || response.Variables[0].Name != "job:1" {
		t.Fatal(response, err)
	}
	_, err = service.ListVariables(limited(t), &bridgev1.ListVariablesRequest{SessionId: session.ID, Pattern: "[a]"})
	wants(t, err, codes.InvalidArgument, "PATTERN_REFUSED")
}

func TestConstraintsHoldForEveryWrite(t *testing.T) {
	one, three := packed(t, 1), packed(t, 3)
	vector := Tensor{"float32", []int64{2}, make([]byte, 8)}
	for name, c := range map[string]struct {
		kind        string
		constraints *bridgev1.Constraints
		good, bad   any
	}{
		"max":            {"integer", &bridgev1.Constraints{Min: one, Max: three}, 3, 4},
		"min":            {"float", &bridgev1.Constraints{Min: one, Max: three}, 1, 0.5},
		"choices":        {"choice", &bridgev1.Constraints{Choices: []string{"a", "b"}}, "b", "c"},
		"pattern":        {"string", &bridgev1.Constraints{Pattern: "a|ab"}, "ab", "abc"},
		"min_length":     {"bytes", &bridgev1.Constraints{MinLength: proto.Int64(1)}, []byte{1}, []byte{}},
		"max_length":     {"string", &bridgev1.Constraints{MaxLength: proto.Int64(2)}, "éé", "abc"},
		"dimensions":     {"embedding", &bridgev1.Constraints{Dimensions: proto.Int64(2)}, []any{1, 2.5}, []any{1.0}},
		"of a vector":    {"embedding", &bridgev1.Constraints{Dimensions: proto.Int64(2)}, vector, Tensor{"int8", []int64{1}, []byte{1}}},
		"shape":          {"tensor", &bridgev1.Constraints{Shape: []int64{-1}}, vector, Tensor{"int8", []int64{}, []byte{1}}},
		"type integer":   {"integer", nil, 1, true},
		"type json":      {"json", nil, map[string]any{"a": nil}, []any{[]byte{1}}},
		"type boolean":   {"boolean", nil, false, 0},
		"type float":     {"float", nil, 3, "3"},
		"type embedding": {"embedding", nil, []any{}, []any{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			host := &MemoryHost{}
			session := host.OpenSession()
			service, ctx := connectHost(t, host), limited(t)
			request := &bridgev1.RegisterVariableRequest{
				SessionId: session.ID, Name: "x", Type: c.kind, Value: packed(t, c.good), Constraints: c.constraints,
			}
			if response, err := service.RegisterVariable(ctx, request); err != nil || response.Variable.Version != 1 {
				t.Fatal(response, err)
			}
			reason := "CONSTRAINT_VIOLATED"
			if c.constraints == nil {
				reason = "VALUE_REFUSED"
			}
			_, err := session.Set("x", c.bad)
			wants(t, err, codes.InvalidArgument, reason)
		})
	}
}

func TestDeclarationsThatCannotBeAreRefused(t *testing.T) {
	host := &MemoryHost{}
	scope := Scope{Session: host.OpenSession().ID}
	for reason, declaration := range map[string]Declaration{
		"NAME_REFUSED":        {Name: "a b", Type: "integer", Value: 1},
		"TYPE_REFUSED":        {Name: "a", Type: "number", Value: 1},
		"CONSTRAINTS_REFUSED": {Name: "a", Type: "boolean", Value: true, Constraints: &bridgev1.Constraints{Pattern: "x"}},
	} {
		_, err := host.RegisterVariable(context.Background(), scope, declaration)
		wants(t, err, codes.InvalidArgument, reason)
	}
}

func TestNobodySharesTheValueOfAVariable(t *testing.T) {
	session := (&MemoryHost{}).OpenSession()
	value := map[string]any{"a": int64(1)}
	session.Set("x", value)
	value["a"] = int64(2)
	read, _ := session.Get("x")
	read.(map[string]any)["a"] = int64(3)
	if again, err := session.Get("x"); err != nil || !reflect.DeepEqual(again, map[string]any{"a": int64(1)}) {
		t.Fatal(again, err)
	}
}

func TestAClosedSessionIsNotFound(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	session.Close()
	service := connectHost(t, host)
	_, err := service.GetVariables(limited(t), &bridgev1.GetVariablesRequest{SessionId: session.ID, Names: []string{"x"}})
	wants(t, err, codes.NotFound, "SESSION_NOT_FOUND")
}

func TestFunctionsOfTheProgramAreTools(t *testing.T) {
	host := &MemoryHost{}
	host.RegisterTool("double", "Twice as much.", func(_ context.Context, arguments map[string]any) (any, error) {
		return arguments["n"].(int64) * 2, nil
	})
	host.RegisterTool("gone", "", func(context.Context, map[string]any) (any, error) {
		return nil, &Error{Code: codes.NotFound, Reason: "NO_ROW", Message: "there is no such row", Metadata: map[string]string{"row": "7"}}
	})
	host.RegisterTool("odd", "", func(context.Context, map[string]any) (any, error) { return func() {}, nil })
	service, ctx := connectHost(t, host), limited(t)

	call := func(tool string, n any) (*bridgev1.ExecuteToolResponse, error) {
		request := &bridgev1.ExecuteToolRequest{ToolName: tool, Parameters: map[string]*anypb.Any{"n": packed(t, n)}}
		return service.ExecuteHostTool(ctx, request)
	}
	response, err := call("double", 21)
	if err != nil || !proto.Equal(response.Result, packed(t, 42)) {
		t.Fatal(response, err)
	}
	_, err = call("gone", 1)
	if told := wants(t, err, codes.NotFound, "NO_ROW"); told.Metadata["row"] != "7" {
		t.Fatal(told.Metadata)
	}
	_, err = call("double", "text")
	wants(t, err, codes.Unknown, "PANIC")
	_, err = call("odd", 1)
	wants(t, err, codes.Unknown, "UNSUPPORTED_RESULT")
	_, err = call("none", 1)
	wants(t, err, codes.NotFound, "TOOL_NOT_FOUND")
	tools, err := service.ListHostTools(ctx, &bridgev1.ListHostToolsRequest{})
	if err != nil || len(tools.Tools) != 3 || tools.Tools[0].Description != "Twice as much." {
		t.Fatal(tools, err)
	}
}

func TestWhatItsContextSaysIsTheErrorOfAFunctionOfTheProgram(t *testing.T) {
	for fails, code := range map[error]codes.Code{context.Canceled: codes.Canceled, context.DeadlineExceeded: codes.DeadlineExceeded} {
		host := &MemoryHost{}
		host.RegisterTool("wait", "", func(context.Context, map[string]any) (any, error) { return nil, fmt.Errorf("waiting: %w", fails) })
		_, err := connectHost(t, host).ExecuteHostTool(limited(t), &bridgev1.ExecuteToolRequest{ToolName: "wait"})
		wants(t, err, code, "")
	}
}

func TestWhatAHostDoesNotOfferSaysSo(t *testing.T) {
	host := &MemoryHost{}
	session := host.OpenSession()
	service, ctx := connectHost(t, host), limited(t)
	_, err := service.OpenSession(ctx, &bridgev1.OpenSessionRequest{})
	wants(t, err, codes.Unimplemented, "NOT_OFFERED")
	watch, err := service.WatchVariables(ctx, &bridgev1.WatchVariablesRequest{SessionId: session.ID, Names: []string{"x"}})
	if err == nil {
		_, err = watch.Recv()
	}
	wants(t, err, codes.Unimplemented, "NOT_OFFERED")
	request := &bridgev1.SetVariableRequest{SessionId: session.ID, Name: "x", Value: packed(t, 1), Ttl: durationpb.New(time.Second)}
	_, err = service.SetVariable(ctx, request)
	wants(t, err, codes.Unimplemented, "NOT_OFFERED")
}
