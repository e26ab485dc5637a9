package bridge

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

// The constraints that fit each type of variable.
var constraintsOf = map[string][]string{
	"integer":   {"min", "max"},
	"float":     {"min", "max"},
	"string":    {"min_length", "max_length", "choices", "pattern"},
	"boolean":   {},
	"choice":    {"choices"},
	"json":      {},
	"embedding": {"dimensions"},
	"tensor":    {"shape"},
	"bytes":     {"min_length", "max_length"},
}

var (
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,256}$`)
	patternForm = regexp.MustCompile(`^[A-Za-z0-9_.:/*?-]{0,256}$`)
)

func checkName(name string) error {
	if nameForm.MatchString(name) {
		return nil
	}
	return invalid("name", "a variable's name is 1 to 256 of A-Z, a-z, 0-9 and '_', '.', ':', '/', '-'", "NAME_REFUSED")
}

// glob matches names of variables: * stands for any characters, ? for one.
func glob(pattern string) (*regexp.Regexp, error) {
	if !patternForm.MatchString(pattern) {
		return nil, invalid("pattern", "a pattern is at most 256 characters of names, '*' and '?'", "PATTERN_REFUSED")
	}
	if pattern == "" {
		pattern = "*"
	}
	expression := regexp.QuoteMeta(pattern)
	expression = strings.ReplaceAll(strings.ReplaceAll(expression, `\*`, ".*"), `\?`, ".")
	return regexp.Compile("^" + expression + "$")
}

// inferType is the type an unknown name is registered with. The value is one that Unpack gives.
func inferType(value any) string {
	switch value.(type) {
	case bool:
		return "boolean"
	case int64, *big.Int:
		return "integer"
	case float64:
		return "float"
	case string:
		return "string"
	case []byte:
		return "bytes"
	case Tensor:
		return "tensor"
	}
	return "json"
}

// checkDeclaration refuses an unknown type, and constraints that do not fit it.
func checkDeclaration(declaration Declaration) error {
	if err := checkName(declaration.Name); err != nil {
		return err
	}
	fitting, isKnown := constraintsOf[declaration.Type]
	if !isKnown {
		return invalid("type", "must be one of "+strings.Join(sortedKeys(constraintsOf), ", "), "TYPE_REFUSED")
	}
	for _, name := range setConstraints(declaration.Constraints) {
		if !slices.Contains(fitting, name) {
			description := "does not fit a variable of type " + declaration.Type
			return invalid("constraints."+name, description, "CONSTRAINTS_REFUSED")
		}
	}
	if declaration.Type == "choice" && len(declaration.Constraints.GetChoices()) == 0 {
		return invalid("constraints.choices", "a variable of type choice needs the values allowed", "CONSTRAINTS_REFUSED")
	}
	return nil
}

func setConstraints(constraints *bridgev1.Constraints) []string {
	var names []string
	if constraints == nil {
		return names
	}
	for name, isSet := range map[string]bool{
		"min":        constraints.Min != nil,
		"max":        constraints.Max != nil,
		"min_length": constraints.MinLength != nil,
		"max_length": constraints.MaxLength != nil,
		"pattern":    constraints.Pattern != "",
		"choices":    len(constraints.Choices) > 0,
		"dimensions": constraints.Dimensions != nil,
		"shape":      len(constraints.Shape) > 0,
	} {
		if isSet {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkValue is a value, one that Unpack gives, as a variable of a type holds it: an integer given to a float becomes a
// float. What does not fit is VALUE_REFUSED or CONSTRAINT_VIOLATED.
func checkValue(variable Variable, value any) (any, error) {
	held, isRight := ofType(variable.Type, value)
	if !isRight {
		return nil, invalid(variable.Name, fmt.Sprintf("is a variable of type %s, got %T", variable.Type, value), "VALUE_REFUSED")
	}
	violated, err := violation(variable.Constraints, held)
	if err != nil {
		return nil, err
	}
	if violated != "" {
		description := fmt.Sprintf("violates %s of a variable of type %s", violated, variable.Type)
		return nil, invalid(variable.Name, description, "CONSTRAINT_VIOLATED")
	}
	return held, nil
}

func ofType(kind string, value any) (any, bool) {
	isRight := false
	switch kind {
	case "integer":
		isRight = inferType(value) == "integer"
	case "float":
		return asFloat(value)
	case "string", "choice":
		_, isRight = value.(string)
	case "json":
		_, err := appendJSON(nil, value, 0)
		isRight = err == nil
	case "embedding":
		return asVector(value)
	case "boolean", "bytes", "tensor":
		isRight = inferType(value) == kind
	}
	return value, isRight
}

func asFloat(value any) (any, bool) {
	switch value := value.(type) {
	case float64:
		return value, true
	case int64:
		number, accuracy := new(big.Float).SetInt64(value).Float64()
		return number, accuracy == big.Exact
	case *big.Int:
		number, accuracy := new(big.Float).SetInt(value).Float64()
		return number, accuracy == big.Exact
	}
	return nil, false
}

func asVector(value any) (any, bool) {
	if tensor, ok := value.(Tensor); ok {
		return tensor, len(tensor.Shape) == 1 && tensor.DType != "bool" && !strings.HasPrefix(tensor.DType, "complex")
	}
	items, ok := value.([]any)
	if !ok {
		return nil, false
	}
	vector := make([]any, len(items))
	for i, item := range items {
		number, ok := asFloat(item)
		if !ok || math.IsInf(number.(float64), 0) || math.IsNaN(number.(float64)) {
			return nil, false
		}
		vector[i] = number
	}
	return vector, true
}

// violation names the first constraint that does not hold.
func violation(constraints *bridgev1.Constraints, value any) (string, error) {
	if constraints == nil {
		return "", nil
	}
	if isBeyond, err := beyond(value, constraints.Min, -1); isBeyond || err != nil {
		return "min", err
	}
	if isBeyond, err := beyond(value, constraints.Max, 1); isBeyond || err != nil {
		return "max", err
	}
	switch value := value.(type) {
	case string:
		return textViolation(constraints, value)
	case []byte:
		return lengthViolation(constraints, len(value)), nil
	case []any:
		if constraints.Dimensions != nil && int64(len(value)) != *constraints.Dimensions {
			return "dimensions", nil
		}
	case Tensor:
		return shapeViolation(constraints, value.Shape), nil
	}
	return "", nil
}

// beyond says whether a number is below (side -1) or above (side 1) a bound. NaN is beyond every bound.
func beyond(value any, bound *anypb.Any, side int) (bool, error) {
	if bound == nil {
		return false, nil
	}
	limit, err := unpack(bound, 0)
	if err != nil {
		return false, at("constraints", err)
	}
	have, want := exactNumberOf(value), exactNumberOf(limit)
	if want == nil {
		return false, invalid("constraints", "a bound must be a number", "CONSTRAINTS_REFUSED")
	}
	return have == nil || have.Cmp(want) == side, nil
}

// exactNumberOf is nil for what is no number.
func exactNumberOf(value any) *big.Float {
	switch value := value.(type) {
	case int64:
		return new(big.Float).SetInt64(value)
	case *big.Int:
		return new(big.Float).SetInt(value)
	case float64:
		if !math.IsNaN(value) {
			return big.NewFloat(value)
		}
	}
	return nil
}

func textViolation(constraints *bridgev1.Constraints, text string) (string, error) {
	if violated := lengthViolation(constraints, utf8.RuneCountInString(text)); violated != "" {
		return violated, nil
	}
	if len(constraints.Choices) > 0 && !slices.Contains(constraints.Choices, text) {
		return "choices", nil
	}
	if constraints.Pattern == "" {
		return "", nil
	}
	pattern, err := regexp.Compile(`\A(?:` + constraints.Pattern + `)\z`)
	if err != nil {
		return "", invalid("constraints.pattern", "is no regular expression of RE2", "CONSTRAINTS_REFUSED")
	}
	if !pattern.MatchString(text) {
		return "pattern", nil
	}
	return "", nil
}

func lengthViolation(constraints *bridgev1.Constraints, length int) string {
	if constraints.MinLength != nil && int64(length) < *constraints.MinLength {
		return "min_length"
	}
	if constraints.MaxLength != nil && int64(length) > *constraints.MaxLength {
		return "max_length"
	}
	return ""
}

func shapeViolation(constraints *bridgev1.Constraints, shape []int64) string {
	if constraints.Dimensions != nil && (len(shape) != 1 || shape[0] != *constraints.Dimensions) {
		return "dimensions"
	}
	if len(constraints.Shape) == 0 {
		return ""
	}
	fits := func(have, want int64) bool { return want == -1 || have == want }
	if !slices.EqualFunc(shape, constraints.Shape, fits) {
		return "shape"
	}
	return ""
}
