# selfboost on NVIDIA GPUs, with vLLM: PyTorch's own wheels bring CUDA, the machine its driver and container toolkit.
#   docker build -f docker/cuda.Dockerfile -t selfboost-cuda .
#   docker run --rm --gpus all --ipc host -v "$PWD:/work" selfboost-cuda run my-run/recipe.toml --into my-run/out
FROM python:3.11-slim
# The release that vLLM 0.33 needs; no other can be installed beside it.
ARG TORCH=torch==2.14.0
ARG TORCH_OPTIONS=
ARG EXTRAS=eight-bit,hub,live,lora,ray,server,vllm
ENV PIP_NO_CACHE_DIR=1 HF_HOME=/work/.cache/huggingface
# Triton compiles small C programs when a model is first used.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
RUN pip install $TORCH_OPTIONS $TORCH
COPY src src
RUN pip install ".[$EXTRAS]"
RUN useradd --create-home --uid 1000 selfboost
USER selfboost
WORKDIR /work
ENTRYPOINT ["selfboost"]
CMD ["--help"]
