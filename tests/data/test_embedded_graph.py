import copy
import json

import pytest

from tests.data.generated_files import GRAPH, WORKFLOW, png
from tf_prompt.data.embedded import read_embedded


def graph(**changes):
    """ComfyUI's default graph with other nodes; `n3=None` takes one out."""
    changes = {key.lstrip("n"): node for key, node in changes.items()}
    nodes = {**copy.deepcopy(GRAPH), **changes}
    return {key: node for key, node in nodes.items() if node is not None}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def encode(text):
    return node("CLIPTextEncode", text=text, clip=["4", 1])


def sampler(**inputs):
    return node("KSampler", **{**GRAPH["3"]["inputs"], **inputs})


def read(nodes):
    return read_embedded(png({"prompt": json.dumps(nodes)}))


def edited(change):
    workflow = copy.deepcopy(WORKFLOW)
    change(workflow, {node["id"]: node for node in workflow["nodes"]})
    return read_embedded(png({"workflow": json.dumps(workflow)}))


def test_the_first_sampler_counts_not_one_that_refines():
    nodes = graph(
        n8=node("VAEDecode", samples=["20", 0], vae=["4", 2]),
        n20=sampler(positive=["21", 0], latent_image=["22", 0], seed=5, denoise=0.4),
        n21=encode("sharp details"),
        n22=node("LatentUpscale", samples=["3", 0], width=1024, height=1024),
    )
    assert read(nodes).prompt == "a galaxy in a bottle"
    assert read(nodes).seed == 156680208700286


def test_samplers_of_other_images_do_not_count():
    others = {
        "1": sampler(positive=["2", 0]),
        "2": encode("another"),
        "30": node("PreviewImage", images=["1", 0]),
    }
    assert read({**others, **GRAPH}).prompt == "a galaxy in a bottle"


def test_a_guider_and_apart_noise_and_steps_are_followed():
    nodes = {
        "6": encode("a fox in snow"),
        "9": node("SaveImage", images=["8", 0]),
        "8": node("VAEDecode", samples=["13", 0], vae=["10", 0]),
        "13": node(
            "SamplerCustomAdvanced",
            noise=["25", 0],
            guider=["22", 0],
            sampler=["16", 0],
            sigmas=["17", 0],
            latent_image=["27", 0],
        ),
        "16": node("KSamplerSelect", sampler_name="euler"),
        "17": node(
            "BasicScheduler", scheduler="simple", steps=24, denoise=1, model=["12", 0]
        ),
        "22": node("BasicGuider", model=["12", 0], conditioning=["26", 0]),
        "25": node("RandomNoise", noise_seed=219670278747233),
        "26": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
        "12": node("UNETLoader", unet_name="flux1-dev.safetensors"),
        "27": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
        "10": node("VAELoader", vae_name="ae.safetensors"),
    }
    found = read(nodes)
    assert (found.prompt, found.negative_prompt) == ("a fox in snow", None)
    assert (found.seed, found.steps) == (219670278747233, 24)
    assert found.model == "flux1-dev.safetensors"


@pytest.mark.parametrize(
    "changes, prompt",
    [
        (
            {
                "n6": node(
                    "ConditioningCombine",
                    conditioning_1=["40", 0],
                    conditioning_2=["41", 0],
                ),
                "n40": encode("a hill"),
                "n41": encode("a tree"),
            },
            "a hill, a tree",
        ),
        (
            {
                "n6": node(
                    "CLIPTextEncodeSDXL", text_g="a hill", text_l="a hill", width=1024
                )
            },
            "a hill",
        ),
        (
            {
                "n6": node("CLIPTextEncodeFlux", clip_l="hill, sun", t5xxl="A hill."),
            },
            "hill, sun, A hill.",
        ),
        (
            {
                "n6": encode(["40", 0]),
                "n40": node(
                    "StringConcatenate",
                    string_a=["41", 0],
                    string_b="at dawn",
                    delimiter=" ",
                ),
                "n41": node("PrimitiveString", value="a hill"),
            },
            "a hill at dawn",
        ),
        (
            {
                "n6": node(
                    "ControlNetApplyAdvanced",
                    positive=["40", 0],
                    negative=["7", 0],
                    control_net=["42", 0],
                    image=["43", 0],
                ),
                "n40": encode("a hill"),
                "n43": node("LoadImage", image="edge.png"),
            },
            "a hill",
        ),
        (
            {
                "n6": node(
                    "Efficient Loader",
                    ckpt_name="x",
                    positive="a hill",
                    negative="a tree",
                )
            },
            "a hill",
        ),
        (
            {
                "n6": node("Switch", select=2, input1=["40", 0], input2=["41", 0]),
                "n40": encode("a hill"),
                "n41": encode("a tree"),
            },
            "a tree",
        ),
    ],
    ids=["combine", "sdxl", "flux", "concatenate", "control", "efficient", "switch"],
)
def test_nodes_between_prompt_and_sampler_are_passed(changes, prompt):
    assert read(graph(**changes)).prompt == prompt


def test_each_side_takes_its_own_text_of_a_node_that_has_both():
    nodes = graph(
        n6=encode(["40", 0]),
        n7=encode(["40", 1]),
        n40=node("PromptStyler", text_positive="a hill", text_negative="blurry"),
    )
    found = read(nodes)
    assert (found.prompt, found.negative_prompt) == ("a hill", "blurry")


def test_an_emptied_prompt_is_no_negative_prompt():
    nodes = graph(n7=node("ConditioningZeroOut", conditioning=["6", 0]))
    assert read(nodes).negative_prompt is None


def test_a_seed_may_come_from_another_node():
    nodes = graph(n3=sampler(seed=["50", 0]), n50=node("Seed (rgthree)", seed=77))
    assert read(nodes).seed == 77


def test_networks_between_model_and_sampler_are_passed():
    nodes = graph(
        n3=sampler(model=["50", 0]),
        n50=node("LoraLoader", lora_name="ink", model=["4", 0], clip=["4", 1]),
    )
    assert read(nodes).model == "v1-5-pruned-emaonly.safetensors"


def test_the_graph_that_ran_goes_before_the_editors():
    other = json.dumps(graph(n6=encode("a hill")))
    data = png({"workflow": json.dumps(WORKFLOW), "prompt": other})
    assert read_embedded(data).prompt == "a hill"
    data = png({"workflow": json.dumps(WORKFLOW), "prompt": other[:-9]})
    assert read_embedded(data).prompt == "a galaxy in a bottle"


def test_values_of_a_node_that_names_them_are_found():
    def change(workflow, nodes):
        nodes[6] |= {"type": "My Encoder", "widgets_values": [1.5, "a hill", "mean"]}
        names = ("strength", "text", "mode")
        nodes[6]["inputs"] += [
            {"name": n, "link": None, "widget": {"name": n}} for n in names
        ]

    assert edited(change).prompt == "a hill"


def test_a_text_from_a_primitive_is_found():
    def change(workflow, nodes):
        nodes[6]["inputs"].append(
            {"name": "text", "link": 20, "widget": {"name": "text"}}
        )
        workflow["nodes"].append(
            {"id": 30, "type": "PrimitiveNode", "widgets_values": ["a hill", "fixed"]}
        )
        workflow["links"].append([20, 30, 0, 6, 1, "STRING"])

    assert edited(change).prompt == "a hill"


def test_a_bypassed_node_hands_on_and_a_muted_one_is_gone():
    def add(mode):
        def change(workflow, nodes):
            workflow["nodes"].append(
                {
                    "id": 30,
                    "type": "My Styler",
                    "mode": mode,
                    "inputs": [{"name": "conditioning", "link": 4}],
                    "widgets_values": ["a style"],
                }
            )
            nodes[3]["inputs"][1]["link"] = 20
            workflow["links"].append([20, 30, 0, 3, 1, "CONDITIONING"])

        return change

    assert edited(add(4)).prompt == "a galaxy in a bottle"
    assert edited(add(2)) is None


def test_links_may_be_objects():
    def change(workflow, nodes):
        names = "id origin_id origin_slot target_id target_slot type".split()
        links = [dict(zip(names, link, strict=True)) for link in workflow["links"]]
        workflow["links"] = links

    assert edited(change).prompt == "a galaxy in a bottle"


def test_a_graph_in_a_circle_ends():
    nodes = graph(
        n6=node("ConditioningSetArea", conditioning=["40", 0]),
        n40=node("ConditioningSetArea", conditioning=["6", 0]),
    )
    assert read(nodes) is None
    assert read(graph(n3=sampler(latent_image=["8", 0]))).steps == 20


def test_a_graph_without_a_sampler_gives_none():
    assert read(graph(n3=None)) is None
