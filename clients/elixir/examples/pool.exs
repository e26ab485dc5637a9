# A pool of two workers, and a few calls: `mix run --no-start examples/pool.exs`, with TOOL_BRIDGE_PYTHON naming the
# Python that tool-bridge is installed in. In a project these settings stand in config/config.exs.

settings = [
  tool_bridge: [python: System.get_env("TOOL_BRIDGE_PYTHON", "python3")],
  snakepit: [
    pooling_enabled: true,
    adapter_module: ToolBridge.SnakepitAdapter,
    pools: [%{name: :default, pool_size: 2, adapter_args: ["--adapter", Path.expand("words.py:Words", __DIR__)]}]
  ]
]

Application.put_all_env(settings)

Snakepit.run_as_script(fn ->
  {:ok, counts} = Snakepit.execute("count", %{text: "to be or not to be"})
  %{"to" => 2, "be" => 2, "or" => 1, "not" => 1} = counts

  caller = self()
  :ok = Snakepit.execute_stream("spell", %{word: "ab"}, &send(caller, {:chunk, &1}))
  for letter <- ["a", "b"], do: receive(do: ({:chunk, %{"letter" => ^letter, "is_final" => false}} -> :ok))
  receive(do: ({:chunk, %{"is_final" => true}} -> :ok))

  {:ok, {:binary, <<3, 2, 1>>}} = Snakepit.execute("reverse", %{}, binary_parameters: %{"data" => <<1, 2, 3>>})

  {:error, %Snakepit.Error{details: %{reason: %Snakepit.Error.ValueError{} = error}}} =
    Snakepit.execute("count", %{txt: "a typo"})

  IO.puts("an error: " <> error.message)
  IO.puts("all is well")
end)
