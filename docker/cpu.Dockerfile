# selfboost on a CPU.
#   docker build -f docker/cpu.Dockerfile -t selfboost .
#   docker run --rm -v "$PWD:/work" selfboost run smoke --into runs/smoke
# TORCH_OPTIONS names the index of PyTorch's CPU builds (as pytorch.org shows it); without it pip takes the build with CUDA.
FROM python:3.11-slim
ARG TORCH=torch==2.13.0
ARG TORCH_OPTIONS=
ARG EXTRAS=hub,live,lora,server
ENV PIP_NO_CACHE_DIR=1 HF_HOME=/work/.cache/huggingface
WORKDIR /source
COPY constraints/tested.txt constraints/tested.txt
RUN pip install $TORCH_OPTIONS $TORCH
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --constraint constraints/tested.txt ".[$EXTRAS]"
RUN useradd --create-home --uid 1000 selfboost
USER selfboost
WORKDIR /work
ENTRYPOINT ["selfboost"]
CMD ["--help"]
