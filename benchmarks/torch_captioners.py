"""Kalisz's two models in plain PyTorch, as rivals: the same sizes, nothing of ours."""

import math

import torch
from torch import nn
from torch.nn import functional

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEPTH = 2048


class Bottleneck(nn.Module):
    """Three convolutions; the stride is in the second, as in version 1.5."""

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        wide = 4 * filters
        self.body = nn.Sequential(
            *_convolve(channels, filters, 1),
            nn.ReLU(inplace=True),
            *_convolve(filters, filters, 3, stride),
            nn.ReLU(inplace=True),
            *_convolve(filters, wide, 1),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or channels != wide:
            self.shortcut = nn.Sequential(*_convolve(channels, wide, 1, stride))

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """From images `(batch, 3, 224, 224)`, 0-255, to regions `(batch, 49, 2048)`."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1))
        self.stem = nn.Sequential(
            *_convolve(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        blocks, channels = [], 64
        for filters, count, stride in STAGES:
            for index in range(count):
                blocks.append(Bottleneck(channels, filters, 1 if index else stride))
                channels = 4 * filters
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images):
        x = self.blocks(self.stem((images - self.mean) / self.std))
        return x.flatten(2).transpose(1, 2)


def _convolve(channels, filters, size, stride=1):
    convolution = nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)
    return convolution, nn.BatchNorm2d(filters)


class Rival(nn.Module):
    """What both have: a frozen backbone, token embeddings and the output layer."""

    def __init__(self, vocab_size: int, width: int, dropout_rate: float):
        super().__init__()
        self.backbone = ResNet50().requires_grad_(False)
        self.embedding = nn.Embedding(vocab_size, width)
        self.output_proj = nn.Linear(width, vocab_size)
        self.dropout_rate = dropout_rate

    def forward(self, images, token_ids):
        with torch.no_grad():
            regions = self.backbone(images)
        return self.decode(regions, token_ids)

    def drop(self, x):
        """Dropout while training."""
        return functional.dropout(x, self.dropout_rate, self.training)

    def train(self, mode: bool = True):
        """Leaves the frozen backbone's statistics alone."""
        super().train(mode)
        self.backbone.eval()
        return self


class LSTMRival(Rival):
    """The loop of the published attention captioners: a cell a word."""

    def __init__(self, vocab_size: int, width=512, units=512, attention_units=256):
        super().__init__(vocab_size, width, 0.5)
        self.state_proj = nn.Linear(units, attention_units)
        self.region_proj = nn.Linear(DEPTH, attention_units)
        self.score = nn.Linear(attention_units, 1)
        self.initial_hidden = nn.Linear(DEPTH, units)
        self.initial_carry = nn.Linear(DEPTH, units)
        self.gate = nn.Linear(units, DEPTH)
        self.cell = nn.LSTMCell(width + DEPTH, units)

    def decode(self, regions, token_ids):
        """Logits `(batch, tokens, vocab_size)` from given regions."""
        state, memory = self.start(regions)
        outputs = []
        for word in self.embedding(token_ids).unbind(1):
            state = self.advance(word, *state, *memory)
            outputs.append(state[0])
        return self.output_proj(self.drop(torch.stack(outputs, 1)))

    def start(self, regions, max_tokens=None):
        """State and memory before the first word."""
        mean = regions.mean(1)
        state = self.initial_hidden(mean), self.initial_carry(mean)
        return state, (regions, self.region_proj(regions))

    def step(self, token_ids, position, state, memory):
        """Logits `(batch, vocab_size)` of the next word, and the state after it."""
        state = self.advance(self.embedding(token_ids), *state, *memory)
        return self.output_proj(state[0]), state

    def advance(self, word, hidden, carry, regions, keys):
        """The state after one more word."""
        query = self.state_proj(hidden)[:, None]
        weights = self.score(torch.tanh(query + keys)).softmax(1)
        context = (weights * regions).sum(1)
        seen = torch.sigmoid(self.gate(hidden)) * context
        return self.cell(torch.cat([word, seen], 1), (hidden, carry))


class Attention(nn.Module):
    """Heads narrower than width / heads, which `nn.MultiheadAttention` has not."""

    def __init__(self, width: int, depth: int, num_heads=4, head_dim=16):
        super().__init__()
        self.num_heads, inner = num_heads, num_heads * head_dim
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(depth, inner)
        self.value = nn.Linear(depth, inner)
        self.output = nn.Linear(inner, width)

    def forward(self, x, memory, causal=False, dropout_rate=0.0):
        k, v = self.project(memory)
        return self.look(x, k, v, dropout_p=dropout_rate, is_causal=causal)

    def project(self, memory):
        """Keys and values of each head."""
        return self.split(self.key(memory)), self.split(self.value(memory))

    def look(self, x, k, v, **options):
        """Attends from `x` to given keys and values."""
        q = self.split(self.query(x))
        seen = functional.scaled_dot_product_attention(q, k, v, **options)
        return self.output(seen.transpose(1, 2).flatten(2))

    def split(self, x):
        """Gives each head its own part of the width."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """A pre-norm block; with `depth` it also looks at regions that deep."""

    def __init__(self, width: int, hidden: int, depth: int | None, dropout_rate: float):
        super().__init__()
        self.dropout_rate = dropout_rate
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, width)
        if depth:
            self.cross_attention_norm = nn.LayerNorm(width)
            self.cross_attention = Attention(width, depth)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x, regions=None):
        rate = self.dropout_rate if self.training else 0.0
        normed = self.attention_norm(x)
        causal = regions is not None
        x = x + functional.dropout(self.attention(normed, normed, causal, rate), rate)
        if causal:
            normed = self.cross_attention_norm(x)
            seen = self.cross_attention(normed, regions, dropout_rate=rate)
            x = x + functional.dropout(seen, rate)
        return x + functional.dropout(self.feed_forward(x), rate)

    def feed_forward(self, x):
        """The last part of a block."""
        hidden = functional.relu(self.expand(self.feed_forward_norm(x)))
        return self.contract(hidden)

    def step(self, x, position, cache, memory):
        """Reads one more token, `(batch, 1, width)`; its keys go into the cache."""
        normed = self.attention_norm(x)
        for kept, new in zip(cache, self.attention.project(normed), strict=True):
            kept.index_copy_(2, position[None], new)
        seen = torch.arange(cache[0].shape[2], device=x.device) <= position
        x = x + self.attention.look(normed, *cache, attn_mask=seen[None])
        x = x + self.cross_attention.look(self.cross_attention_norm(x), *memory)
        return x + self.feed_forward(x)


class TransformerRival(Rival):
    """Two blocks over regions, two over tokens, sinusoidal positions on both."""

    def __init__(self, vocab_size: int, width=512):
        super().__init__(vocab_size, width, 0.1)
        self.encoder_blocks = nn.ModuleList(
            Block(DEPTH, 8192, None, 0.1) for _ in range(2)
        )
        self.encoder_norm = nn.LayerNorm(DEPTH)
        self.decoder_blocks = nn.ModuleList(
            Block(width, 2048, DEPTH, 0.1) for _ in range(2)
        )
        self.decoder_norm = nn.LayerNorm(width)

    def decode(self, regions, token_ids):
        """Logits `(batch, tokens, vocab_size)` from given regions."""
        regions = self.encode(regions)
        tokens = self.embed(token_ids)
        tokens = self.drop(tokens + positions(tokens))
        for block in self.decoder_blocks:
            tokens = block(tokens, regions)
        return self.output_proj(self.decoder_norm(tokens))

    def encode(self, regions):
        """Runs the encoder's blocks."""
        regions = self.drop(regions + positions(regions))
        for block in self.encoder_blocks:
            regions = block(regions)
        return self.encoder_norm(regions)

    def embed(self, token_ids):
        """Embeddings, scaled as in the paper."""
        return self.embedding(token_ids) * math.sqrt(self.embedding.embedding_dim)

    def start(self, regions, max_tokens):
        """Empty caches, and the keys and values of each block's regions."""
        regions = self.encode(regions)
        memory = [b.cross_attention.project(regions) for b in self.decoder_blocks]
        heads, _, head_dim = memory[0][0].shape[1:]
        shape = len(regions), heads, max_tokens, head_dim
        caches = [[regions.new_zeros(shape) for _ in "kv"] for _ in memory]
        empty = regions.new_zeros(1, max_tokens, self.embedding.embedding_dim)
        return caches, (positions(empty), memory)

    def step(self, token_ids, position, state, memory):
        """Logits `(batch, vocab_size)` of the next word; `state` is changed."""
        places, memory = memory
        x = (self.embed(token_ids) + places[position[None]])[:, None]
        for block, cache, regions in zip(
            self.decoder_blocks, state, memory, strict=True
        ):
            x = block.step(x, position, cache, regions)
        return self.output_proj(self.decoder_norm(x[:, 0])), state


def positions(x):
    """Sines in even channels, cosines in odd: Vaswani et al., 2017, section 3.5."""
    place = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[:, None]
    channel = torch.arange(x.shape[2], device=x.device)[None]
    rate = 10_000.0 ** (-2 * torch.div(channel, 2, rounding_mode="floor") / x.shape[2])
    angle = place * rate
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).to(x.dtype)
