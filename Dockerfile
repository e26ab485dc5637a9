# syntax=docker/dockerfile:1
# The image of `bridge`: `docker run IMAGE serve ...`, `docker run IMAGE host ...`. How to use it: docs/deploy.md.

FROM python:3.13-slim AS build
WORKDIR /src
# Without pip of its own: what installs is this stage's, and it stays here.
RUN python -m venv --without-pip /opt/bridge
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY clients/python clients/python
COPY adapters adapters
RUN --mount=type=cache,target=/var/cache/pip \
    PIP_CACHE_DIR=/var/cache/pip pip --python /opt/bridge/bin/python install --disable-pip-version-check ".[numpy,tls,otel,metrics,patterns,redis]"

FROM python:3.13-slim
# Nothing can be installed into a running container.
RUN python -m pip uninstall --yes --quiet --disable-pip-version-check --root-user-action ignore pip \
 && useradd --system --uid 10001 --user-group --home-dir /adapters --no-create-home --shell /usr/sbin/nologin bridge
COPY --from=build /opt/bridge /opt/bridge
# `bridge serve` imports adapters from the current folder: mount yours here, or copy them in an image of your own.
WORKDIR /adapters
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["bridge", "health", "127.0.0.1:50051"]
ENTRYPOINT ["bridge"]
CMD ["--help"]
