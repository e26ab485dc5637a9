package bridge

import (
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tool-bridge/tool-bridge/clients/go/bridgev1"
)

func readList(message *bridgev1.List, depth int) (any, error) {
	if depth >= maxDepth {
		return nil, tooDeep()
	}
	items := make([]any, len(message.Items))
	for i, item := range message.Items {
		value, err := unpack(item, depth+1)
		if err != nil {
			return nil, inside(i, err)
		}
		items[i] = value
	}
	return items, nil
}

func readMap(message *bridgev1.Map, depth int) (any, error) {
	if depth >= maxDepth {
		return nil, tooDeep()
	}
	fields := make(map[string]any, len(message.Fields))
	for _, key := range sortedKeys(message.Fields) {
		value, err := unpack(message.Fields[key], depth+1)
		if err != nil {
			return nil, inside(key, err)
		}
		fields[key] = value
	}
	var others Entries
	seen := map[string]bool{}
	for i, entry := range message.Entries {
		key, err := readKey(entry, i)
		if err != nil {
			return nil, err
		}
		if err := readEntry(entry, key, fields, seen, &others, depth); err != nil {
			return nil, inside(key, err)
		}
	}
	if others == nil {
		return fields, nil
	}
	return allEntries(fields, others), nil
}

func readEntry(entry *bridgev1.Map_Entry, key any, fields map[string]any, seen map[string]bool, others *Entries, depth int) error {
	name, isText := key.(string)
	_, isTwice := fields[name]
	same := identity(key)
	if isText && isTwice || !isText && same != "" && seen[same] {
		return refused("the key occurs twice")
	}
	value, err := unpack(entry.Value, depth+1)
	if isText {
		fields[name] = value
	} else {
		seen[same] = true
		*others = append(*others, Entry{key, value})
	}
	return err
}

func readKey(entry *bridgev1.Map_Entry, index int) (any, error) {
	// No container may stand in a key: with no depth left it is refused before it is read.
	key, err := unpack(entry.Key, maxDepth)
	if err == nil && !isKey(key) {
		err = malformed("the key is not text, a number, a boolean or bytes")
	}
	return key, inside(fmt.Sprintf("entries[%d].key", index), err)
}

func allEntries(fields map[string]any, others Entries) Entries {
	entries := make(Entries, 0, len(fields)+len(others))
	for _, key := range sortedKeys(fields) {
		entries = append(entries, Entry{key, fields[key]})
	}
	return append(entries, others...)
}

func readValue(message *structpb.Value, depth int) (any, error) {
	switch kind := message.Kind.(type) {
	case *structpb.Value_NullValue:
		return nil, nil
	case *structpb.Value_BoolValue:
		return kind.BoolValue, nil
	case *structpb.Value_NumberValue:
		return kind.NumberValue, nil
	case *structpb.Value_StringValue:
		return kind.StringValue, nil
	case *structpb.Value_StructValue:
		return readStruct(kind.StructValue, depth)
	case *structpb.Value_ListValue:
		return readListValue(kind.ListValue, depth)
	}
	return nil, malformed("the Value holds nothing, not even null")
}

func readStruct(message *structpb.Struct, depth int) (any, error) {
	if depth >= maxDepth {
		return nil, tooDeep()
	}
	fields := make(map[string]any, len(message.GetFields()))
	for _, key := range sortedKeys(message.GetFields()) {
		value, err := readValue(message.Fields[key], depth+1)
		if err != nil {
			return nil, inside(key, err)
		}
		fields[key] = value
	}
	return fields, nil
}

func readListValue(message *structpb.ListValue, depth int) (any, error) {
	if depth >= maxDepth {
		return nil, tooDeep()
	}
	items := make([]any, len(message.GetValues()))
	for i, item := range message.GetValues() {
		value, err := readValue(item, depth+1)
		if err != nil {
			return nil, inside(i, err)
		}
		items[i] = value
	}
	return items, nil
}
