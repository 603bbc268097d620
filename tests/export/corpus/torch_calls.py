"""torch networks with arguments, outputs, wrappers and precisions of many kinds."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tests.export.corpus.registry import inputs_as_rows, named_rows, network
from tests.export.corpus.torch_tables import COLUMNS, FRAME, LABELS, TABLE, answers, mlp, on_frame

RNG = np.random.default_rng(2)
WORDS = ["good", "bad", "film", "plot", "actor", "slow", "fun", "dull", "great", "the", "was", "and"]


def word_tokenizer(length):
    """A tokenizer of whole words, with the special tokens and the padding of BERT."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    vocabulary = {word: code for code, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=length, pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(length)
    return tokenizer


def some_texts(count, most):
    return [" ".join(RNG.choice(WORDS, RNG.integers(2, most))) for _ in range(count)]


def transformer_answers(model, tokenizer, texts, name):
    """What transformers gives for the texts with their own attention masks."""
    found = tokenizer.encode_batch(texts)
    ids, mask = (torch.tensor([getattr(each, which) for each in found]) for which in ("ids", "attention_mask"))
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=mask).logits.numpy()
    return [{name: text} for text in texts], logits


@network("text", "a network of transformers with its tokenizer; the attention mask comes from the tokenizer", ci=True)
def bert_for_texts(package):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=16, num_labels=2, **size))
    tokenizer, texts = word_tokenizer(10), some_texts(20, 8)
    package(model, background=texts, tokenizer=tokenizer, labels=LABELS)
    return transformer_answers(model, tokenizer, texts[:6], "input_ids")


@network("text", "a network of transformers with its tokenizer; the default attention")
def distilbert_for_texts(package):
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    torch.manual_seed(1)
    config = DistilBertConfig(vocab_size=20, max_position_embeddings=16, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    model = DistilBertForSequenceClassification(config)
    tokenizer, texts = word_tokenizer(10), some_texts(20, 8)
    package(model, background=texts, tokenizer=tokenizer, labels=LABELS)
    return transformer_answers(model, tokenizer, texts[:6], "input_ids")


@network("text", "identifiers of words, averaged by an EmbeddingBag")
def embedding_bag(package):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag, self.head = nn.EmbeddingBag(20, 8), nn.Linear(8, 2)

        def forward(self, ids):
            return self.head(self.bag(ids))

    torch.manual_seed(2)
    model, ids = Bag(), RNG.integers(0, 20, (30, 6))
    package(model, background=ids, labels=LABELS, kinds={"ids": "tokens"})
    return inputs_as_rows(ids=ids[:6]), answers(model, ids[:6])


@network("text", "texts with a tokenizer and padding that the network masks")
def masked_transformer_for_texts(package):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 16, padding_idx=0)
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(16, 2)

        def forward(self, ids):
            padding = ids == 0
            states = self.encoder(self.e(ids), src_key_padding_mask=padding)
            kept = (~padding).unsqueeze(-1).float()
            return self.head((states * kept).sum(1) / kept.sum(1))

    torch.manual_seed(3)
    model, tokenizer, texts = Encoder(), word_tokenizer(9), some_texts(20, 7)
    package(model, background=texts, tokenizer=tokenizer, labels=LABELS)
    ids = np.array([each.ids for each in tokenizer.encode_batch(texts[:6])])
    return [{"ids": text} for text in texts[:6]], answers(model, ids)


@network("picture", "a network of transformers with pixel values", ci=True)
def vit_of_transformers(package):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(4)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=2, **size))
    pictures = RNG.random((16, 3, 8, 8)).astype(np.float32)
    package(model, background=pictures, labels=LABELS)
    with torch.no_grad():
        logits = model.eval()(pixel_values=torch.from_numpy(pictures[:4])).logits.numpy()
    return inputs_as_rows(pixel_values=pictures[:4]), logits


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.body = mlp()


@network("call", "an argument with a default stays as it is if the background does not name it", ci=True)
def default_argument_left_alone(package):
    class Scaled(Calls):
        def forward(self, x, scale=None, shift=0.5):
            x = self.body(x) + shift
            return x if scale is None else x * scale

    return on_frame(package, Scaled(), labels=LABELS)


@network("call", "an argument with a default is an input if the background names it")
def default_argument_named(package):
    class Masked(Calls):
        def forward(self, x, mask=None):
            return self.body(x if mask is None else x * mask)

    model, mask = Masked(), (RNG.random((60, 5)) < 0.7).astype(np.float32)
    names = {"x": COLUMNS, "mask": [f"has_{name}" for name in COLUMNS]}
    package(model, background={"x": TABLE, "mask": mask}, labels=LABELS, features=names)
    rows = [
        {**row, **flags}
        for row, flags in zip(named_rows(COLUMNS, TABLE[:6]), named_rows(names["mask"], mask[:6]), strict=True)
    ]
    return rows, answers(model, TABLE[:6], mask[:6])


@network("call", "one dict of tensors")
def dict_argument(package):
    class FromDict(Calls):
        def forward(self, batch):
            return self.body(torch.cat([batch["person"], batch["account"]], 1))

    model, background = FromDict(), {"person": TABLE[:, :2].copy(), "account": TABLE[:, 2:].copy()}
    package(model, background=background, labels=LABELS, features={"person": COLUMNS[:2], "account": COLUMNS[2:]})
    given = {name: torch.from_numpy(array[:6]) for name, array in background.items()}
    with torch.no_grad():
        return named_rows(COLUMNS, TABLE[:6]), model(given).numpy()


@network("call", "keyword-only arguments")
def keyword_only(package):
    class Keywords(Calls):
        def forward(self, *, person, account):
            return self.body(torch.cat([person, account], 1))

    model, background = Keywords(), {"person": TABLE[:, :2].copy(), "account": TABLE[:, 2:].copy()}
    package(model, background=background, labels=LABELS, features={"person": COLUMNS[:2], "account": COLUMNS[2:]})
    given = {name: torch.from_numpy(array[:6]) for name, array in background.items()}
    with torch.no_grad():
        return named_rows(COLUMNS, TABLE[:6]), model(**given).numpy()


@network("outputs", 'output="logits" chooses from a dict')
def dict_of_outputs(package):
    class Several(Calls):
        def forward(self, x):
            return {"logits": self.body(x), "features": x * 2}

    model = Several()
    package(model, background=FRAME, labels=LABELS, output="logits")
    with torch.no_grad():
        return named_rows(COLUMNS, TABLE[:6]), model(torch.from_numpy(TABLE[:6]))["logits"].numpy()


@network("outputs", "output=0 chooses from a tuple")
def tuple_of_outputs(package):
    class Several(Calls):
        def forward(self, x):
            return self.body(x), x.mean(1)

    model = Several()
    package(model, background=FRAME, labels=LABELS, output=0)
    with torch.no_grad():
        return named_rows(COLUMNS, TABLE[:6]), model(torch.from_numpy(TABLE[:6]))[0].numpy()


@network("outputs", "a dataclass of outputs, chosen by its field")
def dataclass_of_outputs(package):
    from transformers.utils import ModelOutput

    @dataclass
    class Result(ModelOutput):
        loss: torch.Tensor | None = None
        scores: torch.Tensor | None = None
        hidden: torch.Tensor | None = None

    class Several(Calls):
        def forward(self, x):
            return Result(scores=self.body(x), hidden=x)

    model = Several()
    package(model, background=FRAME, labels=LABELS, output="scores")
    with torch.no_grad():
        return named_rows(COLUMNS, TABLE[:6]), model(torch.from_numpy(TABLE[:6])).scores.numpy()


@network("outputs", "several heads of a regression by name, one column each")
def quantile_heads(package):
    class Quantiles(Calls):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleDict({name: nn.Linear(2, 1) for name in ("q10", "q50", "q90")})

        def forward(self, x):
            inside = torch.relu(self.body(x))
            return {name: head(inside) for name, head in self.heads.items()}

    model = Quantiles()
    package(model, background=FRAME, output=["q10", "q50", "q90"])
    with torch.no_grad():
        found = model(torch.from_numpy(TABLE[:6]))
    return named_rows(COLUMNS, TABLE[:6]), torch.cat(list(found.values()), 1).numpy()


@network("outputs", "(rows, outputs, 1) is squeezed")
def trailing_dimension(package):
    class Trailing(Calls):
        def forward(self, x):
            return self.body(x).unsqueeze(-1)

    model = Trailing()
    package(model, background=FRAME, names=["low", "high"])
    return named_rows(COLUMNS, TABLE[:6]), answers(model, TABLE[:6])[..., 0]


@network("wrapper", "torch.compile is unwrapped", ci=True)
def compiled(package):
    model = mlp()
    package(torch.compile(model), background=FRAME, labels=LABELS)
    return named_rows(COLUMNS, TABLE[:6]), answers(model, TABLE[:6])


@network("wrapper", "DataParallel is unwrapped")
def data_parallel(package):
    model = mlp()
    package(nn.DataParallel(model), background=FRAME, labels=LABELS)
    return named_rows(COLUMNS, TABLE[:6]), answers(model, TABLE[:6])


@network("wrapper", "a Lightning module, trained or not")
def lightning_module(package):
    import lightning

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.body, self.loss = mlp(), nn.CrossEntropyLoss()
            self.save_hyperparameters()

        def forward(self, x):
            return self.body(x)

        def training_step(self, batch, _):
            rows, wanted = batch
            loss = self.loss(self(rows), wanted)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    model = Lit()
    data = torch.utils.data.TensorDataset(torch.from_numpy(TABLE), torch.from_numpy((TABLE[:, 0] > 0).astype(np.int64)))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", **quiet)
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=20))
    return on_frame(package, model, labels=LABELS)


@network("wrapper", "a torch.export program")
def exported_program(package):
    model = mlp()
    free = {0: torch.export.Dim("batch")}
    program = torch.export.export(model.eval(), (torch.from_numpy(TABLE[:3]),), dynamic_shapes=(free,))
    package(program, background=TABLE, labels=LABELS, features=COLUMNS)
    return named_rows(COLUMNS, TABLE[:6]), answers(model, TABLE[:6])


@network("precision", "float16 is served as a float32 copy", gap=5e-3, ci=True)
def half_precision(package):
    model = mlp().half()
    package(model, background=FRAME, labels=LABELS)
    return named_rows(COLUMNS, TABLE[:6]), answers(model, TABLE[:6].astype(np.float16)).astype(np.float32)


@network("precision", "bfloat16 is served as a float32 copy", gap=4e-2)
def bfloat16_weights(package):
    model = mlp().bfloat16()
    package(model, background=FRAME, labels=LABELS)
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(TABLE[:6]).bfloat16()).float().numpy()
    return named_rows(COLUMNS, TABLE[:6]), wanted


@network("precision", "a saturated output: rounding of the last operation is allowed")
def saturated_sigmoid(package):
    torch.manual_seed(6)
    body = mlp(1)
    with torch.no_grad():
        body[2].weight.mul_(60)
    return on_frame(package, nn.Sequential(body, nn.Sigmoid()), labels=LABELS)
