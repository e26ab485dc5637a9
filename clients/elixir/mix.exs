defmodule ToolBridge.MixProject do
  use Mix.Project

  def project do
    [
      app: :tool_bridge,
      version: "0.1.0",
      elixir: "~> 1.18",
      description: "Runs tool-bridge's Python server in the worker pools of Snakepit.",
      deps: deps()
    ]
  end

  def application, do: [extra_applications: [:logger]]

  defp deps, do: [{:snakepit, "~> 0.13.0"}]
end
