package bridge

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

const (
	minSeconds  = -62_135_596_800 // 0001-01-01T00:00:00Z
	maxSeconds  = 253_402_300_799 // 9999-12-31T23:59:59Z
	maxExponent = 999_999         // of a decimal
)

func pack(value any, depth int) (*anypb.Any, error) {
	plain, err := canonical(value)
	if err != nil {
		return nil, err
	}
	switch plain := plain.(type) {
	case []any:
		return packItems(plain, depth)
	case map[string]any:
		return packFields(plain, depth)
	case Entries:
		return packEntries(plain, depth)
	}
	message, err := scalarMessage(plain)
	if err != nil {
		return nil, err
	}
	return wrap(message)
}

func wrap(message proto.Message) (*anypb.Any, error) {
	if packed, ok := message.(*anypb.Any); ok {
		return packed, nil
	}
	packed := &anypb.Any{}
	// The order of a message's maps is kept from call to call, so that equal values are equal bytes.
	if err := anypb.MarshalFrom(packed, message, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, unsupported("the message cannot be serialized: %v", err)
	}
	return packed, nil
}

func scalarMessage(plain any) (proto.Message, error) {
	switch plain := plain.(type) {
	case nil:
		return structpb.NewNullValue(), nil
	case bool:
		return wrapperspb.Bool(plain), nil
	case int64:
		return wrapperspb.Int64(plain), nil
	case *big.Int:
		return bigMessage(plain)
	case float64:
		return wrapperspb.Double(plain), nil
	case string:
		return wrapperspb.String(plain), checkText(plain)
	case []byte:
		return wrapperspb.Bytes(plain), nil
	case Decimal:
		return decimalMessage(string(plain))
	case time.Time:
		return timeMessage(plain)
	case time.Duration:
		return durationpb.New(plain), nil
	case Tensor:
		return &bridgev1.Tensor{Dtype: plain.DType, Shape: plain.Shape, Data: plain.Data}, tensorProblem(plain, unsupported)
	case ArrowStream:
		return &bridgev1.ArrowStream{Data: plain.Data}, nil
	case proto.Message:
		return plain, nil
	}
	return nil, unsupported("a value of type %T cannot be carried", plain)
}

func checkText(text string) error {
	if !utf8.ValidString(text) {
		return unsupported("the text is not valid UTF-8: send it as []byte")
	}
	return nil
}

func bigMessage(value *big.Int) (proto.Message, error) {
	text, err := digits(value)
	return &bridgev1.BigNumber{Number: &bridgev1.BigNumber_Integer{Integer: text}}, err
}

func digits(value *big.Int) (string, error) {
	// A quarter more bits than the limit has, so that the text of a huge number is not made only to be refused.
	if value.BitLen() > maxDigits*4 {
		return "", unsupported("the integer has more than %d digits", maxDigits)
	}
	text := value.String()
	if len(strings.TrimPrefix(text, "-")) > maxDigits {
		return "", unsupported("the integer has more than %d digits", maxDigits)
	}
	return text, nil
}

func decimalMessage(text string) (proto.Message, error) {
	if !decimalForm.MatchString(text) {
		return nil, unsupported("the Decimal is not an optional minus sign, digits, optional fraction and exponent")
	}
	if len(text) > maxDigits {
		return nil, unsupported("the decimal has more than %d characters", maxDigits)
	}
	if beyondExponent(text) {
		return nil, unsupported("the decimal's exponent is beyond %d", maxExponent)
	}
	return &bridgev1.BigNumber{Number: &bridgev1.BigNumber_Decimal{Decimal: text}}, nil
}

var decimalForm = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,20})?$`)

// beyondExponent says whether a decimal in scientific notation has too large an exponent, up or down.
func beyondExponent(text string) bool {
	coefficient, exponent := strings.TrimPrefix(text, "-"), 0
	if at := strings.IndexAny(coefficient, "eE"); at >= 0 {
		var err error
		if exponent, err = strconv.Atoi(coefficient[at+1:]); err != nil {
			return true
		}
		coefficient = coefficient[:at]
	}
	whole, fraction, _ := strings.Cut(coefficient, ".")
	significant := max(len(strings.TrimLeft(whole+fraction, "0")), 1)
	exponent += significant - 1 - len(fraction)
	return exponent > maxExponent || exponent < -maxExponent
}

func timeMessage(value time.Time) (proto.Message, error) {
	message := timestamppb.New(value)
	if message.Seconds < minSeconds || message.Seconds > maxSeconds {
		return nil, unsupported("the time is outside of the years 1 to 9999 in UTC")
	}
	return message, nil
}

func packItems(items []any, depth int) (*anypb.Any, error) {
	if document, ok := exactJSON(items, depth); ok {
		return wrap(&bridgev1.Json{Document: document})
	}
	if depth >= maxDepth {
		return nil, tooDeepToSend()
	}
	list := &bridgev1.List{Items: make([]*anypb.Any, len(items))}
	for i, item := range items {
		packed, err := pack(item, depth+1)
		if err != nil {
			return nil, inside(i, err)
		}
		list.Items[i] = packed
	}
	return wrap(list)
}

func packFields(fields map[string]any, depth int) (*anypb.Any, error) {
	if document, ok := exactJSON(fields, depth); ok {
		return wrap(&bridgev1.Json{Document: document})
	}
	if depth >= maxDepth {
		return nil, tooDeepToSend()
	}
	message := &bridgev1.Map{Fields: make(map[string]*anypb.Any, len(fields))}
	for _, key := range sortedKeys(fields) {
		if err := addField(message, key, fields[key], depth); err != nil {
			return nil, inside(key, err)
		}
	}
	return wrap(message)
}

func addField(message *bridgev1.Map, key string, value any, depth int) error {
	if err := checkText(key); err != nil {
		return err
	}
	if _, isThere := message.Fields[key]; isThere {
		return unsupported("the key is there twice")
	}
	packed, err := pack(value, depth+1)
	message.Fields[key] = packed
	return err
}

func packEntries(entries Entries, depth int) (*anypb.Any, error) {
	if depth >= maxDepth {
		return nil, tooDeepToSend()
	}
	message := &bridgev1.Map{Fields: map[string]*anypb.Any{}}
	seen := map[string]bool{}
	for _, entry := range entries {
		key, err := canonical(entry.Key)
		if err == nil && !isKey(key) {
			err = unsupported("the key is not text, a number, a boolean or bytes")
		}
		if err == nil {
			err = addEntry(message, seen, key, entry.Value, depth)
		}
		if err != nil {
			return nil, inside(key, err)
		}
	}
	return wrap(message)
}

func addEntry(message *bridgev1.Map, seen map[string]bool, key, value any, depth int) error {
	if text, ok := key.(string); ok {
		return addField(message, text, value, depth)
	}
	same := identity(key)
	if same != "" && seen[same] {
		return unsupported("the key is there twice")
	}
	seen[same] = true
	packedKey, err := pack(key, depth+1)
	if err != nil {
		return err
	}
	packed, err := pack(value, depth+1)
	message.Entries = append(message.Entries, &bridgev1.Map_Entry{Key: packedKey, Value: packed})
	return err
}

func isKey(key any) bool {
	switch key.(type) {
	case string, bool, int64, *big.Int, float64, []byte, Decimal:
		return true
	}
	return false
}

func tooDeepToSend() error {
	return unsupported("the value is nested deeper than %d levels, or holds itself", maxDepth)
}
