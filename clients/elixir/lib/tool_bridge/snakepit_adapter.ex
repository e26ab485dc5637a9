defmodule ToolBridge.SnakepitAdapter do
  @moduledoc """
  A Snakepit adapter whose workers run tool-bridge's Python server.

  Only what is started differs from `Snakepit.Adapters.GRPCPython`. What is said over the wire is the same, so all of
  that is left to it.

      config :snakepit,
        pooling_enabled: true,
        adapter_module: ToolBridge.SnakepitAdapter,
        python_executable: "/opt/my_tools/venv/bin/python",
        pools: [%{name: :default, pool_size: 4, adapter_args: ["--adapter", "my_tools.adapter.MyAdapter"]}]

  The top-level `adapter_module` is needed even if each pool has one: Snakepit looks there before it streams.

  ## Configuration

  All of `config :tool_bridge` is optional.

    * `:python` - the Python that tool-bridge is installed in: a path, or a name that is looked for in `PATH`. By
      default what Snakepit finds, by its `python_executable` or `SNAKEPIT_PYTHON` for example.
    * `:script` - the path of tool-bridge's `grpc_server.py`. By default that Python is asked, once for all workers.
    * `:args` - arguments of the server for pools without `adapter_args`.
  """

  @behaviour Snakepit.Adapter

  require Logger

  alias Snakepit.Adapters.GRPCPython

  @doc """
  The Python that runs the server.

  Raises `RuntimeError` if there is none.
  """
  @impl true
  @spec executable_path() :: String.t()
  def executable_path do
    case Application.get_env(:tool_bridge, :python) do
      nil -> GRPCPython.executable_path() || refuse("Snakepit has found no Python: set config :tool_bridge, :python")
      name -> find(name)
    end
  end

  @doc """
  The script that a worker runs.

  Raises `RuntimeError` if the Python does not know where it is: tool-bridge is not installed there.
  """
  @impl true
  @spec script_path() :: String.t()
  def script_path do
    case Application.get_env(:tool_bridge, :script) do
      nil -> printed_path(executable_path())
      path -> Path.expand(path)
    end
  end

  @doc """
  The arguments of the server for a pool that has none of its own.
  """
  @impl true
  @spec script_args() :: [String.t()]
  def script_args do
    case Snakepit.Config.adapter_args() do
      [] -> Application.get_env(:tool_bridge, :args, [])
      args -> args
    end
  end

  @doc false
  @impl true
  defdelegate command_timeout(command, args), to: GRPCPython

  @doc false
  defdelegate uses_grpc?(), to: GRPCPython

  @doc false
  defdelegate get_port(), to: GRPCPython

  @doc false
  defdelegate init_grpc_connection(port), to: GRPCPython

  @doc false
  defdelegate grpc_execute(connection, session_id, command, args, timeout \\ nil, opts \\ []), to: GRPCPython

  @doc false
  defdelegate grpc_execute_stream(connection, session_id, command, args, callback, timeout \\ nil, opts \\ []),
    to: GRPCPython

  defp find(name) do
    path = if String.contains?(name, "/"), do: Path.expand(name), else: name

    System.find_executable(path) || refuse("config :tool_bridge, :python is #{inspect(name)}, and that cannot be run")
  end

  # The workers of a pool start together: one of them asks, and the others wait for it.
  defp printed_path(python) do
    key = {__MODULE__, python}
    known_path(key) || :global.trans({key, self()}, fn -> known_path(key) || ask(key, python) end, [node()])
  end

  # A path is forgotten when nothing is there any more, as after an upgrade of Python.
  defp known_path(key) do
    path = :persistent_term.get(key, nil)
    if path && File.regular?(path), do: path
  end

  defp ask(key, python) do
    # In a folder of nobody's, since Python looks for modules in the current one first.
    command = ["-m", "bridge", "snakepit", "--print-path"]
    {output, _status} = System.cmd(python, command, cd: "/", stderr_to_stdout: true)
    answer = output |> String.split("\n", trim: true) |> List.last("nothing")

    if File.regular?(answer) do
      :persistent_term.put(key, answer)
      answer
    else
      refuse(
        "#{python} was asked for tool-bridge's server and said: #{answer}. Install tool-bridge there (#{python} -m pip " <>
          "install tool-bridge), or set config :tool_bridge, :python to the Python that has it"
      )
    end
  end

  # Snakepit keeps what is raised here to itself, so it is logged, too.
  defp refuse(problem) do
    Logger.error(problem)
    raise problem
  end
end
