"""The messages of ``proto/bridge/v1`` that a plugin's worker speaks, and those of Google's that they hold.

That these tables are what the .proto files say is tested, field by field.
"""

from __future__ import annotations

from .protobuf import MAP, OPTIONAL, REPEATED, Field, Message

ANY = Message("google.protobuf.Any", Field(1, "type_url", "string"), Field(2, "value", "bytes"))
DURATION = Message("google.protobuf.Duration", Field(1, "seconds", "int64"), Field(2, "nanos", "int32"))
TIMESTAMP = Message("google.protobuf.Timestamp", Field(1, "seconds", "int64"), Field(2, "nanos", "int32"))
EMPTY = Message("google.protobuf.Empty")
WRAPPERS = {
    name: Message("google.protobuf." + name, Field(1, "value", kind))
    for name, kind in (
        ("BoolValue", "bool"),
        ("BytesValue", "bytes"),
        ("DoubleValue", "double"),
        ("FloatValue", "float"),
        ("Int32Value", "int32"),
        ("Int64Value", "int64"),
        ("StringValue", "string"),
        ("UInt32Value", "uint32"),
        ("UInt64Value", "uint64"),
    )
}

VALUE = Message("google.protobuf.Value", oneof=True)
STRUCT = Message("google.protobuf.Struct", Field(1, "fields", VALUE, MAP))
LIST_VALUE = Message("google.protobuf.ListValue", Field(1, "values", VALUE, REPEATED))
VALUE.add(
    Field(1, "null_value", "enum", OPTIONAL),
    Field(2, "number_value", "double", OPTIONAL),
    Field(3, "string_value", "string", OPTIONAL),
    Field(4, "bool_value", "bool", OPTIONAL),
    Field(5, "struct_value", STRUCT),
    Field(6, "list_value", LIST_VALUE),
)

# values.proto

JSON = Message("bridge.v1.Json", Field(1, "document", "bytes"))
BIG_NUMBER = Message(
    "bridge.v1.BigNumber", Field(1, "integer", "string", OPTIONAL), Field(2, "decimal", "string", OPTIONAL), oneof=True
)
MAP_FIELD = Message("bridge.v1.Map.FieldsEntry", Field(1, "key", "string"), Field(2, "value", ANY))
MAP_ENTRY = Message("bridge.v1.Map.Entry", Field(1, "key", ANY), Field(2, "value", ANY))
# On the wire a map is a repeated message of key and value. Read as that it keeps its order.
MAP_VALUE = Message("bridge.v1.Map", Field(1, "fields", MAP_FIELD, REPEATED), Field(2, "entries", MAP_ENTRY, REPEATED))
LIST = Message("bridge.v1.List", Field(1, "items", ANY, REPEATED))
TENSOR = Message(
    "bridge.v1.Tensor", Field(1, "dtype", "string"), Field(2, "shape", "int64", REPEATED), Field(3, "data", "bytes")
)
ARROW_STREAM = Message("bridge.v1.ArrowStream", Field(1, "data", "bytes"))

# bridge.proto

EXECUTE_TOOL_REQUEST = Message(
    "bridge.v1.ExecuteToolRequest",
    Field(1, "session_id", "string"),
    Field(2, "tool_name", "string"),
    Field(3, "parameters", ANY, MAP),
    Field(4, "metadata", "string", MAP),
    Field(6, "binary_parameters", "bytes", MAP),
)
EXECUTE_TOOL_RESPONSE = Message(
    "bridge.v1.ExecuteToolResponse",
    Field(2, "result", ANY),
    Field(4, "metadata", "string", MAP),
    Field(6, "binary_result", "bytes", OPTIONAL),
)
PROGRESS = Message("bridge.v1.Progress", Field(1, "fraction", "double", OPTIONAL), Field(2, "message", "string"))
TOOL_CHUNK = Message(
    "bridge.v1.ToolChunk",
    Field(1, "chunk_id", "string"),
    Field(2, "data", "bytes", OPTIONAL),
    Field(3, "is_final", "bool"),
    Field(4, "metadata", "string", MAP),
    Field(5, "value", ANY),
    Field(6, "sequence", "int64"),
    Field(7, "progress", PROGRESS),
)
PARAMETER_SPEC = Message(
    "bridge.v1.ParameterSpec",
    Field(1, "name", "string"),
    Field(2, "type", "string"),
    Field(3, "description", "string"),
    Field(4, "required", "bool"),
    Field(5, "default_value", ANY),
    Field(7, "schema", "string"),
)
TOOL_SPEC = Message(
    "bridge.v1.ToolSpec",
    Field(1, "name", "string"),
    Field(2, "description", "string"),
    Field(3, "parameters", PARAMETER_SPEC, REPEATED),
    Field(4, "metadata", "string", MAP),
    Field(5, "supports_streaming", "bool"),
    Field(7, "input_schema", "string"),
    Field(8, "output_schema", "string"),
    Field(9, "idempotent", "bool"),
    Field(10, "read_only", "bool"),
    Field(11, "isolation", "string"),
    Field(12, "timeout", DURATION),
    Field(13, "collects", "bool"),
)
LIST_TOOLS_RESPONSE = Message(
    "bridge.v1.ListToolsResponse", Field(1, "tools", TOOL_SPEC, REPEATED), Field(2, "etag", "string")
)

# host.proto

CONSTRAINTS = Message(
    "bridge.v1.Constraints",
    Field(1, "min", ANY),
    Field(2, "max", ANY),
    Field(3, "min_length", "int64", OPTIONAL),
    Field(4, "max_length", "int64", OPTIONAL),
    Field(5, "pattern", "string"),
    Field(6, "choices", "string", REPEATED),
    Field(7, "dimensions", "int64", OPTIONAL),
    Field(8, "shape", "int64", REPEATED),
)
VARIABLE = Message(
    "bridge.v1.Variable",
    Field(2, "name", "string"),
    Field(3, "type", "string"),
    Field(4, "value", ANY),
    Field(6, "metadata", "string", MAP),
    Field(8, "last_updated_at", TIMESTAMP),
    Field(9, "version", "int64"),
    Field(13, "constraints", CONSTRAINTS),
    Field(14, "changed_by", "string"),
    Field(15, "expires_at", TIMESTAMP),
)
REGISTER_VARIABLE_REQUEST = Message(
    "bridge.v1.RegisterVariableRequest",
    Field(1, "session_id", "string"),
    Field(2, "name", "string"),
    Field(3, "type", "string"),
    Field(4, "value", ANY),
    Field(6, "metadata", "string", MAP),
    Field(8, "constraints", CONSTRAINTS),
    Field(9, "ttl", DURATION),
)
REGISTER_VARIABLE_RESPONSE = Message("bridge.v1.RegisterVariableResponse", Field(4, "variable", VARIABLE))
GET_VARIABLES_REQUEST = Message(
    "bridge.v1.GetVariablesRequest", Field(1, "session_id", "string"), Field(2, "names", "string", REPEATED)
)
GET_VARIABLES_RESPONSE = Message(
    "bridge.v1.GetVariablesResponse",
    Field(1, "variables", VARIABLE, MAP),
    Field(2, "missing", "string", REPEATED),
)
SET_VARIABLE_REQUEST = Message(
    "bridge.v1.SetVariableRequest",
    Field(1, "session_id", "string"),
    Field(2, "name", "string"),
    Field(3, "value", ANY),
    Field(4, "metadata", "string", MAP),
    Field(5, "expected_version", "int64", OPTIONAL),
    Field(7, "ttl", DURATION),
)
SET_VARIABLE_RESPONSE = Message("bridge.v1.SetVariableResponse", Field(3, "version", "int64"))
SET_VARIABLES_REQUEST = Message(
    "bridge.v1.SetVariablesRequest",
    Field(1, "session_id", "string"),
    Field(2, "updates", ANY, MAP),
    Field(3, "metadata", "string", MAP),
    Field(4, "atomic", "bool"),
    Field(6, "expected_versions", "int64", MAP),
    Field(7, "ttl", DURATION),
)
VARIABLE_FAILURE = Message(
    "bridge.v1.VariableFailure",
    Field(1, "code", "int32"),
    Field(2, "message", "string"),
    Field(3, "reason", "string"),
    Field(4, "current_version", "int64"),
)
SET_VARIABLES_RESPONSE = Message(
    "bridge.v1.SetVariablesResponse",
    Field(3, "versions", "int64", MAP),
    Field(4, "failures", VARIABLE_FAILURE, MAP),
)
LIST_VARIABLES_REQUEST = Message(
    "bridge.v1.ListVariablesRequest", Field(1, "session_id", "string"), Field(2, "pattern", "string")
)
LIST_VARIABLES_RESPONSE = Message("bridge.v1.ListVariablesResponse", Field(1, "variables", VARIABLE, REPEATED))
DELETE_VARIABLE_REQUEST = Message(
    "bridge.v1.DeleteVariableRequest",
    Field(1, "session_id", "string"),
    Field(2, "name", "string"),
    Field(3, "expected_version", "int64", OPTIONAL),
)

# google/rpc/status.proto and google/rpc/error_details.proto

STATUS = Message(
    "google.rpc.Status",
    Field(1, "code", "int32"),
    Field(2, "message", "string"),
    Field(3, "details", ANY, REPEATED),
)
ERROR_INFO = Message(
    "google.rpc.ErrorInfo",
    Field(1, "reason", "string"),
    Field(2, "domain", "string"),
    Field(3, "metadata", "string", MAP),
)
RETRY_INFO = Message("google.rpc.RetryInfo", Field(1, "retry_delay", DURATION))
DEBUG_INFO = Message(
    "google.rpc.DebugInfo", Field(1, "stack_entries", "string", REPEATED), Field(2, "detail", "string")
)
FIELD_VIOLATION = Message(
    "google.rpc.BadRequest.FieldViolation",
    Field(1, "field", "string"),
    Field(2, "description", "string"),
)
BAD_REQUEST = Message("google.rpc.BadRequest", Field(1, "field_violations", FIELD_VIOLATION, REPEATED))
