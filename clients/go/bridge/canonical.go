package bridge

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"sort"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// canonical is a value as one of the types that Unpack gives, or a message; what is inside a container is left as it is.
func canonical(value any) (any, error) {
	switch value := value.(type) {
	case nil, bool, int64, float64, string, []byte, time.Time, time.Duration, Decimal, Tensor, ArrowStream, []any, map[string]any, Entries:
		return value, nil
	case proto.Message:
		if reflect.ValueOf(value).IsNil() {
			return nil, nil
		}
		return value, nil
	case int:
		return int64(value), nil
	case *big.Int:
		return canonicalBig(value), nil
	case json.Number:
		return canonicalNumber(string(value))
	}
	return reflected(reflect.ValueOf(value))
}

func canonicalBig(value *big.Int) any {
	switch {
	case value == nil:
		return nil
	case value.IsInt64():
		return value.Int64()
	}
	return value
}

func canonicalNumber(text string) (any, error) {
	if strings.ContainsAny(text, ".eE") {
		number, err := json.Number(text).Float64()
		if err != nil {
			return nil, unsupported("the json.Number is no number, or too large")
		}
		return number, nil
	}
	whole, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return nil, unsupported("the json.Number is no number")
	}
	return canonicalBig(whole), nil
}

func reflected(value reflect.Value) (any, error) {
	switch value.Kind() {
	case reflect.Bool:
		return value.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if value.Uint() > math.MaxInt64 {
			return new(big.Int).SetUint64(value.Uint()), nil
		}
		return int64(value.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return value.Float(), nil
	case reflect.String:
		return value.String(), nil
	case reflect.Pointer:
		if value.IsNil() {
			return nil, nil
		}
		return canonical(value.Elem().Interface())
	case reflect.Slice, reflect.Array:
		return reflectedItems(value), nil
	case reflect.Map:
		return reflectedMap(value), nil
	}
	return nil, unsupported("a value of type %s cannot be carried: make a map, a slice or a plain value of it", value.Type())
}

func reflectedItems(value reflect.Value) any {
	if value.Type().Elem().Kind() == reflect.Uint8 {
		return reflectedBytes(value)
	}
	items := make([]any, value.Len())
	for i := range items {
		items[i] = value.Index(i).Interface()
	}
	return items
}

func reflectedBytes(value reflect.Value) []byte {
	if value.Kind() == reflect.Slice {
		return value.Bytes()
	}
	data := make([]byte, value.Len())
	for i := range data {
		data[i] = byte(value.Index(i).Uint())
	}
	return data
}

func reflectedMap(value reflect.Value) any {
	if value.Type().Key().Kind() == reflect.String {
		fields := make(map[string]any, value.Len())
		for pairs := value.MapRange(); pairs.Next(); {
			fields[pairs.Key().String()] = pairs.Value().Interface()
		}
		return fields
	}
	entries := make(Entries, 0, value.Len())
	for pairs := value.MapRange(); pairs.Next(); {
		entries = append(entries, Entry{pairs.Key().Interface(), pairs.Value().Interface()})
	}
	return entries
}

func sortedKeys[V any](fields map[string]V) []string {
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
