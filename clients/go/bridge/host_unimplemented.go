package bridge

import (
	"context"

	"google.golang.org/grpc"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// What a plugin may ask of a host and not of this one. Sessions are the program's own: it opens them, and names them in
// its calls.

const ownSessions = "opens its sessions itself: name one in the call of the tool"

func (*hostService) OpenSession(context.Context, *bridgev1.OpenSessionRequest) (*bridgev1.OpenSessionResponse, error) {
	return nil, unimplemented(ownSessions)
}

func (*hostService) CloseSession(context.Context, *bridgev1.CloseSessionRequest) (*bridgev1.CloseSessionResponse, error) {
	return nil, unimplemented(ownSessions)
}

func (*hostService) GetSession(context.Context, *bridgev1.GetSessionRequest) (*bridgev1.GetSessionResponse, error) {
	return nil, unimplemented(ownSessions)
}

func (*hostService) ListSessions(context.Context, *bridgev1.ListSessionsRequest) (*bridgev1.ListSessionsResponse, error) {
	return nil, unimplemented(ownSessions)
}

func (*hostService) Heartbeat(context.Context, *bridgev1.HeartbeatRequest) (*bridgev1.HeartbeatResponse, error) {
	return nil, unimplemented(ownSessions)
}

func (*hostService) WatchVariables(*bridgev1.WatchVariablesRequest, grpc.ServerStreamingServer[bridgev1.VariableUpdate]) error {
	return unimplemented("tells of no changes: read the variable when it is needed")
}

func (*hostService) GetVariableHistory(context.Context, *bridgev1.GetVariableHistoryRequest) (*bridgev1.GetVariableHistoryResponse, error) {
	return nil, unimplemented("keeps no earlier versions of variables")
}

func (*hostService) RollbackVariable(context.Context, *bridgev1.RollbackVariableRequest) (*bridgev1.RollbackVariableResponse, error) {
	return nil, unimplemented("keeps no earlier versions of variables")
}

func (*hostService) ExecuteStreamingHostTool(*bridgev1.ExecuteToolRequest, grpc.ServerStreamingServer[bridgev1.ToolChunk]) error {
	return unimplemented("has no tools that yield: call this one for its result")
}
