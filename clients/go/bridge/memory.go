package bridge

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
)

// memory has the variables of one session.
type memory struct {
	variables map[string]Variable // their values packed, so that nobody shares them
	versions  map[string]int64    // the last of every name, also of those that are gone
}

// written is what a write makes of a variable.
func (m *memory) written(scope Scope, write Write) (Variable, error) {
	if err := m.checkVersion(write.Name, write.Expected); err != nil {
		return Variable{}, err
	}
	next := m.next(scope, write.Name)
	if err := checkName(write.Name); err != nil {
		return Variable{}, err
	}
	if len(write.Metadata) > 0 {
		next.Metadata = write.Metadata
	}
	return holding(next, write.Value)
}

// holding is a variable with this value, packed; without a type it gets that of the value.
func holding(variable Variable, value any) (Variable, error) {
	packed, err := pack(value, 0)
	if err == nil {
		value, err = unpack(packed, 0)
	}
	if err != nil {
		return Variable{}, at(variable.Name, err)
	}
	if variable.Type == "" {
		variable.Type = inferType(value)
	}
	if value, err = checkValue(variable, value); err != nil {
		return Variable{}, err
	}
	variable.Value, err = pack(value, 0)
	return variable, at(variable.Name, err)
}

// opened is a variable with its value as a value of its own.
func opened(variable Variable) (Variable, error) {
	value, err := unpack(variable.Value.(*anypb.Any), 0)
	variable.Value = value
	return variable, at(variable.Name, err)
}

// next is a variable as it stands, or a new one, with the next version.
func (m *memory) next(scope Scope, name string) Variable {
	next := m.variables[name]
	next.Name, next.Version = name, m.versions[name]+1
	next.ChangedBy, next.UpdatedAt = scope.ChangedBy, time.Now()
	return next
}

func (m *memory) keep(next Variable) {
	next.Metadata = maps.Clone(next.Metadata)
	m.variables[next.Name], m.versions[next.Name] = next, next.Version
}

func (m *memory) checkVersion(name string, expected *int64) error {
	current := m.variables[name].Version
	if expected == nil || *expected == current {
		return nil
	}
	return &Error{
		Code:     codes.Aborted,
		Reason:   "VERSION_MISMATCH",
		Message:  fmt.Sprintf("%s is at version %d, not %d: read it again, then repeat", name, current, *expected),
		Metadata: map[string]string{"name": name, "current_version": strconv.FormatInt(current, 10)},
	}
}
