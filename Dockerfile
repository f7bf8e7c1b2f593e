# RepGhostNet from PyTorch to int8: the command line, with PyTorch for the CPU. For amd64 and arm64:
#   docker build -t repghost .
#   docker run --rm -v "$PWD:/work" -v repghost-cache:/home/repghost/.cache repghost compile --target arm64
FROM python:3.12.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A layer of its own, which a change of the sources leaves as it is. The index has wheels without CUDA.
RUN python -m venv /opt/repghost \
    && /opt/repghost/bin/pip install "torch>=2.10" "torchvision>=0.25" --index-url https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml MANIFEST.in README.md LICENSE NOTICE ./
COPY repghost repghost
COPY calib calib
COPY compile compile
RUN /opt/repghost/bin/pip install .

FROM python:3.12.11-slim-bookworm

LABEL org.opencontainers.image.title="repghost" \
      org.opencontainers.image.description="RepGhostNet from PyTorch to int8 on small devices" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/repghost /opt/repghost
# The number is for engines that refuse images whose user has only a name.
RUN useradd --uid 10001 --create-home repghost \
    && install -d -o repghost -g repghost /work /home/repghost/.cache
ENV PATH=/opt/repghost/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /work
ENTRYPOINT ["repghost"]
CMD ["--help"]
