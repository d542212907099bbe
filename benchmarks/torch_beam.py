"""An LSTM captioner in PyTorch that searches by beams, one image at a time."""

import numpy as np
import torch
from torch.nn import functional

from tf_prompt.data.text import END_ID, START_ID


class ImageByImage:
    """The usual loop of PyTorch captioners: an image's beams are its batch.

    Args:
        captioner: an `LSTMCaptioner`, whose weights are copied.
    """

    def __init__(self, captioner):
        attention, cell = captioner.attention, captioner.cell
        depth, width = captioner.image_encoder.output_shape[-1], captioner.units
        self.embedding = torch.nn.Embedding(captioner.vocab_size, width)
        self.cell = torch.nn.LSTMCell(width + depth, width)
        with torch.no_grad():
            self.embedding.weight.copy_(_tensor(captioner.embedding.embeddings))
            # Both name their gates in the order input, forget, candidate, output.
            self.cell.weight_ih.copy_(_tensor(cell.kernel).T)
            self.cell.weight_hh.copy_(_tensor(cell.recurrent_kernel).T)
            # PyTorch has two biases where Keras has one.
            self.cell.bias_ih.copy_(_tensor(cell.bias))
            self.cell.bias_hh.zero_()
        self.hidden = _linear(captioner.initial_hidden)
        self.carry = _linear(captioner.initial_carry)
        self.state_proj = _linear(attention.state_proj)
        self.region_proj = _linear(attention.region_proj)
        self.score = _linear(attention.score)
        self.gate = _linear(captioner.gate)
        self.output = _linear(captioner.output_proj)

    @torch.inference_mode()
    def write(self, regions: np.ndarray, num_tokens: int, num_beams: int):
        """Best beam of each image: int array `(batch, num_tokens)`."""
        images = torch.from_numpy(regions)
        rows = [self._search(image, num_tokens, num_beams) for image in images]
        return np.array(rows)

    def _search(self, regions, num_tokens, num_beams):
        regions = regions.expand(num_beams, *regions.shape)
        mean = regions.mean(1)
        hidden, carry = self.hidden(mean), self.carry(mean)
        words = torch.full((num_beams,), START_ID)
        written = torch.empty((num_beams, 0), dtype=torch.long)
        totals = torch.zeros(num_beams, 1)
        ended = []
        for position in range(num_tokens):
            hidden, carry = self._advance(words, hidden, carry, regions)
            scores = totals + functional.log_softmax(self.output(hidden), dim=1)
            # All beams begin alike: the first alone counts.
            candidates = scores[0] if position == 0 else scores.flatten()
            best, places = candidates.topk(num_beams)
            beams, words = places // scores.shape[1], places % scores.shape[1]
            written = torch.cat([written[beams], words[:, None]], dim=1)
            totals = best[:, None]
            goes_on = [i for i, word in enumerate(words) if word != END_ID]
            for i, word in enumerate(words):
                if word == END_ID:
                    ended.append((best[i].item() / (position + 1), written[i]))
            num_beams -= len(words) - len(goes_on)
            if num_beams == 0:
                break
            kept = beams[goes_on]
            hidden, carry, regions = hidden[kept], carry[kept], regions[kept]
            written, totals, words = written[goes_on], totals[goes_on], words[goes_on]
        ended += [
            (total.item() / num_tokens, row)
            for total, row in zip(totals, written, strict=True)
            if row[-1] != END_ID
        ]
        return max(ended, key=lambda found: found[0])[1].tolist()

    def _advance(self, words, hidden, carry, regions):
        query = self.state_proj(hidden)[:, None]
        weights = self.score(torch.tanh(query + self.region_proj(regions))).softmax(1)
        context = torch.sigmoid(self.gate(hidden)) * (weights * regions).sum(1)
        inputs = torch.cat([self.embedding(words), context], dim=1)
        return self.cell(inputs, (hidden, carry))


def _tensor(weight):
    return torch.from_numpy(np.array(weight, "float32"))


def _linear(dense):
    kernel = _tensor(dense.kernel)
    layer = torch.nn.Linear(*kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(kernel.T)
        layer.bias.copy_(_tensor(dense.bias))
    return layer
