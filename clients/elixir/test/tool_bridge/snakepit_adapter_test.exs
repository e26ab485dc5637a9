defmodule ToolBridge.SnakepitAdapterTest do
  # Not async: all of it is about the configuration of applications.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Snakepit.Adapters.GRPCPython
  alias ToolBridge.SnakepitAdapter

  @moduletag :tmp_dir

  setup do
    before = for app <- [:tool_bridge, :snakepit], do: {app, Application.get_all_env(app)}

    on_exit(fn ->
      for {app, settings} <- before do
        for {key, _} <- Application.get_all_env(app), do: Application.delete_env(app, key)
        Application.put_all_env([{app, settings}])
      end
    end)

    for key <- [:python, :script, :args], do: Application.delete_env(:tool_bridge, key)
    :ok
  end

  # A Python that notes each call, its arguments and its folder.
  defp fake_python(dir, body) do
    path = Path.join(dir, "python3")
    File.write!(path, "#!/bin/sh\necho \"$PWD $*\" >> '#{dir}/calls'\n" <> body)
    File.chmod!(path, 0o755)
    Application.put_env(:tool_bridge, :python, path)
    path
  end

  defp fake_script(dir) do
    path = Path.join(dir, "grpc_server.py")
    File.write!(path, "")
    path
  end

  defp calls(dir), do: dir |> Path.join("calls") |> File.read!() |> String.split("\n", trim: true)

  describe "executable_path/0" do
    test "is what Snakepit finds if nothing is said", %{tmp_dir: dir} do
      python = fake_python(dir, "")
      Application.delete_env(:tool_bridge, :python)
      Application.put_env(:snakepit, :python_executable, python)
      assert SnakepitAdapter.executable_path() == python
      assert GRPCPython.executable_path() == python
    end

    test "is a path that may be relative", %{tmp_dir: dir} do
      python = fake_python(dir, "")
      Application.put_env(:tool_bridge, :python, Path.relative_to_cwd(python))
      assert SnakepitAdapter.executable_path() == python
    end

    test "is looked for in PATH if it is a name" do
      Application.put_env(:tool_bridge, :python, "sh")
      assert SnakepitAdapter.executable_path() == System.find_executable("sh")
    end

    test "is refused if nothing can be run there", %{tmp_dir: dir} do
      Application.put_env(:tool_bridge, :python, Path.join(dir, "none"))
      log = capture_log(fn -> assert_raise RuntimeError, &SnakepitAdapter.executable_path/0 end)
      assert log =~ "config :tool_bridge, :python"
    end
  end

  describe "script_path/0" do
    test "is the configured one, and nobody is asked", %{tmp_dir: dir} do
      fake_python(dir, "exit 1\n")
      Application.put_env(:tool_bridge, :script, "some/grpc_server.py")
      assert SnakepitAdapter.script_path() == Path.expand("some/grpc_server.py")
      refute File.exists?(Path.join(dir, "calls"))
    end

    test "is asked of Python once, by workers that start together, too", %{tmp_dir: dir} do
      script = fake_script(dir)
      fake_python(dir, "echo a warning >&2\necho '#{script}'\n")
      paths = Task.await_many(for _ <- 1..20, do: Task.async(&SnakepitAdapter.script_path/0))
      assert Enum.uniq(paths) == [script]
      assert calls(dir) == ["/ -m bridge snakepit --print-path"]
    end

    test "is asked again when it is gone", %{tmp_dir: dir} do
      script = fake_script(dir)
      fake_python(dir, "echo '#{script}'\n")
      assert SnakepitAdapter.script_path() == script
      File.rm!(script)
      capture_log(fn -> assert_raise RuntimeError, &SnakepitAdapter.script_path/0 end)
      fake_script(dir)
      assert SnakepitAdapter.script_path() == script
      assert length(calls(dir)) == 2
    end

    test "fails with what to do, which stands in the log, too", %{tmp_dir: dir} do
      python = fake_python(dir, "echo No module named bridge >&2\nexit 1\n")

      log =
        capture_log(fn ->
          assert_raise RuntimeError, ~r/No module named bridge.*pip install tool-bridge/, &SnakepitAdapter.script_path/0
        end)

      assert log =~ "#{python} -m pip install tool-bridge"
    end
  end

  describe "script_args/0" do
    test "are none if nothing is said" do
      assert SnakepitAdapter.script_args() == []
    end

    test "are the configured ones" do
      Application.put_env(:tool_bridge, :args, ["--adapter", "my.Adapter"])
      assert SnakepitAdapter.script_args() == ["--adapter", "my.Adapter"]
    end

    test "are those of Snakepit's single pool before all" do
      Application.put_env(:tool_bridge, :args, ["--adapter", "my.Adapter"])
      Application.put_env(:snakepit, :pool_config, %{adapter_args: ["--adapter", "other.Adapter"]})
      assert SnakepitAdapter.script_args() == ["--adapter", "other.Adapter"]
    end
  end

  test "it has what Snakepit looks for in an adapter that speaks gRPC" do
    functions = SnakepitAdapter.__info__(:functions)

    for function <- [
          command_timeout: 2,
          get_port: 0,
          grpc_execute: 6,
          grpc_execute_stream: 7,
          init_grpc_connection: 1,
          uses_grpc?: 0
        ] do
      assert function in functions
    end

    assert SnakepitAdapter.uses_grpc?()
    assert SnakepitAdapter.get_port() == 0
    assert SnakepitAdapter.command_timeout("batch_inference", %{}) == GRPCPython.command_timeout("batch_inference", %{})
  end
end
