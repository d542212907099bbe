# tf_prompt in a container. The folder /data holds what it reads and writes, its caches too.
#
#   docker build -t tf_prompt .
#   docker run --user "$(id -u):$(id -g)" -v "$PWD:/data" tf_prompt fit
#
# With NVIDIA GPUs, where the NVIDIA Container Toolkit is installed:
#
#   docker build -t tf_prompt:gpu --build-arg EXTRAS=gpu .
#   docker run --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/data" tf_prompt:gpu fit
FROM python:3.11-slim

# Comma-separated extras: gpu, eval, tf-serving, demo, …
ARG EXTRAS=""
WORKDIR /src
COPY constraints.txt pyproject.toml setup.cfg README.md LICENSE ./
COPY tf_prompt tf_prompt
RUN pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]" && rm -r /src/*

# What the NVIDIA Container Toolkit gives the container; nothing without it.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN mkdir /data && chown 1000:1000 /data
ENV HOME=/data
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["tf-prompt"]
CMD ["--help"]
