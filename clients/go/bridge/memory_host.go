package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// MemoryHost keeps variables in this process and runs functions of it as tools. The zero value is ready; sessions live
// until they are closed.
type MemoryHost struct {
	lock     sync.Mutex
	sessions map[string]*memory
	tools    map[string]hostTool
}

var _ Host = (*MemoryHost)(nil)

type hostTool struct {
	spec *bridgev1.ToolSpec
	run  ToolFunc
}

// ToolFunc is a tool of the host. The context ends when the plugin does not want the result any more; given to
// [Client.Call], it makes that call part of the same chain, so that circles are found.
type ToolFunc func(ctx context.Context, arguments map[string]any) (any, error)

// Session is a session of a [MemoryHost], as the program that owns it uses it.
type Session struct {
	// ID is what [InSession] takes.
	ID   string
	host *MemoryHost
}

// OpenSession opens a session without variables.
func (h *MemoryHost) OpenSession() *Session {
	var random [16]byte
	rand.Read(random[:]) // never fails: see its documentation
	session := &Session{hex.EncodeToString(random[:]), h}
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.sessions == nil {
		h.sessions = map[string]*memory{}
	}
	h.sessions[session.ID] = &memory{map[string]Variable{}, map[string]int64{}}
	return session
}

// Close ends the session and frees its variables.
func (s *Session) Close() {
	s.host.lock.Lock()
	defer s.host.lock.Unlock()
	delete(s.host.sessions, s.ID)
}

// Get is the value of a variable.
func (s *Session) Get(name string) (any, error) {
	found, err := s.host.GetVariables(context.Background(), Scope{Session: s.ID}, []string{name})
	if err != nil {
		return nil, err
	}
	variable, isThere := found[name]
	if !isThere {
		return nil, variableNotFound(name)
	}
	return variable.Value, nil
}

// Set writes a variable and returns its version.
func (s *Session) Set(name string, value any) (int64, error) {
	written, err := s.host.SetVariables(
		context.Background(), Scope{Session: s.ID, ChangedBy: "host"}, []Write{{Name: name, Value: value}}, true,
	)
	return written[name].Version, err
}

// RegisterTool offers a function to the plugin's tools. One of the same name is replaced.
func (h *MemoryHost) RegisterTool(name, description string, run ToolFunc) {
	spec := &bridgev1.ToolSpec{Name: name, Description: description, InputSchema: `{"type":"object"}`}
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.tools == nil {
		h.tools = map[string]hostTool{}
	}
	h.tools[name] = hostTool{spec, run}
}

// session is the memory of a session; the lock must be held.
func (h *MemoryHost) session(scope Scope) (*memory, error) {
	found, isThere := h.sessions[scope.Session]
	if !isThere {
		return nil, sessionNotFound()
	}
	return found, nil
}

// GetVariables reads variables at one instant.
func (h *MemoryHost) GetVariables(_ context.Context, scope Scope, names []string) (map[string]Variable, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	session, err := h.session(scope)
	if err != nil {
		return nil, err
	}
	found := map[string]Variable{}
	for _, name := range names {
		if variable, isThere := session.variables[name]; isThere {
			if found[name], err = opened(variable); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// SetVariables writes variables.
func (h *MemoryHost) SetVariables(_ context.Context, scope Scope, writes []Write, atomic bool) (map[string]Written, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	session, err := h.session(scope)
	if err != nil {
		return nil, err
	}
	results := map[string]Written{}
	var changed []Variable
	for _, write := range writes {
		if _, isTwice := results[write.Name]; isTwice {
			return nil, invalid("writes", "a name must not be there twice", "INVALID_ARGUMENT")
		}
		next, err := session.written(scope, write)
		if err != nil && atomic {
			return nil, err
		}
		results[write.Name] = Written{next.Version, err}
		if err == nil {
			changed = append(changed, next)
		}
	}
	for _, next := range changed {
		session.keep(next)
	}
	return results, nil
}

// RegisterVariable declares a variable.
func (h *MemoryHost) RegisterVariable(_ context.Context, scope Scope, declaration Declaration) (Variable, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	session, err := h.session(scope)
	if err != nil {
		return Variable{}, err
	}
	if err := checkDeclaration(declaration); err != nil {
		return Variable{}, err
	}
	next := session.next(scope, declaration.Name)
	next.Type, next.Constraints = declaration.Type, declaration.Constraints
	next.Metadata = declaration.Metadata
	if next, err = holding(next, declaration.Value); err != nil {
		return Variable{}, err
	}
	session.keep(next)
	return opened(next)
}

// ListVariables has the variables whose name matches, sorted.
func (h *MemoryHost) ListVariables(_ context.Context, scope Scope, pattern string) ([]Variable, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	session, err := h.session(scope)
	if err != nil {
		return nil, err
	}
	names, err := glob(pattern)
	if err != nil {
		return nil, err
	}
	var found []Variable
	for _, name := range sortedKeys(session.variables) {
		if !names.MatchString(name) {
			continue
		}
		variable, err := opened(session.variables[name])
		if err != nil {
			return nil, err
		}
		found = append(found, variable)
	}
	return found, nil
}

// DeleteVariable deletes a variable.
func (h *MemoryHost) DeleteVariable(_ context.Context, scope Scope, name string, expected *int64) error {
	h.lock.Lock()
	defer h.lock.Unlock()
	session, err := h.session(scope)
	if err != nil {
		return err
	}
	if _, isThere := session.variables[name]; !isThere {
		return variableNotFound(name)
	}
	if err := session.checkVersion(name, expected); err != nil {
		return err
	}
	delete(session.variables, name)
	session.versions[name]++
	return nil
}

// ListTools has the registered tools.
func (h *MemoryHost) ListTools(context.Context) ([]*bridgev1.ToolSpec, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	var specs []*bridgev1.ToolSpec
	for _, name := range sortedKeys(h.tools) {
		specs = append(specs, h.tools[name].spec)
	}
	return specs, nil
}

// CallTool runs a registered tool. One that panics has failed, as one that raises has in Python.
func (h *MemoryHost) CallTool(ctx context.Context, _ Scope, tool string, arguments map[string]any) (result any, err error) {
	h.lock.Lock()
	found, isThere := h.tools[tool]
	h.lock.Unlock()
	if !isThere {
		return nil, toolNotFound(tool)
	}
	defer func() {
		if problem := recover(); problem != nil {
			err = &Error{Code: codes.Unknown, Reason: "PANIC", Message: fmt.Sprintf("the host's tool %s panicked: %v", tool, problem)}
		}
	}()
	return found.run(ctx, arguments)
}
