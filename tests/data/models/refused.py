"""Configs of models that must be refused, each with the words that the message must contain."""
LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
    "tie_word_embeddings": True, "vocab_size": 96, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}


def other(model_type, architecture, **more):
    return LLAMA | {"model_type": model_type, "architectures": [architecture]} | more


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 64}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

REFUSED = {
    "gemma2": (["gemma2"], other("gemma2", "Gemma2ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                                 hidden_act="gelu_pytorch_tanh", final_logit_softcapping=30.0,
                                 attn_logit_softcapping=50.0, query_pre_attn_scalar=8, sliding_window=64)),
    "gemma3": (["gemma3_text"], other("gemma3_text", "Gemma3ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                                      rope_local_base_freq=10000.0, query_pre_attn_scalar=8, sliding_window=64)),
    "gemma3-vision": (["gemma3"], {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "text_config": other("gemma3_text", "Gemma3ForCausalLM"),
        "vision_config": {"model_type": "siglip_vision_model"},
    }),
    "phi3": (["phi3"], other("phi3", "Phi3ForCausalLM", partial_rotary_factor=1.0)),
    "mixtral": (["mixtral"], other("mixtral", "MixtralForCausalLM", num_local_experts=4, num_experts_per_tok=2)),
    "qwen2_moe": (["qwen2_moe"], other("qwen2_moe", "Qwen2MoeForCausalLM", shared_expert_intermediate_size=32, **MOE)),
    "qwen3_moe": (["qwen3_moe"], other("qwen3_moe", "Qwen3MoeForCausalLM", **MOE)),
    "deepseek_v3": (["deepseek_v3"], other("deepseek_v3", "DeepseekV3ForCausalLM", n_routed_experts=4, kv_lora_rank=16,
                                           q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8)),
    "gpt2": (["gpt2"], {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 32,
        "n_layer": 2, "n_head": 4, "n_positions": 128, "n_ctx": 128, "vocab_size": 96, "layer_norm_epsilon": 1e-05,
        "bos_token_id": 1, "eos_token_id": 1,
    }),
    "rope-yarn": (["yarn"], LLAMA | {"rope_scaling": YARN}),
    "rope-yarn-v5": (["yarn"], LLAMA | {"rope_theta": None, "rope_parameters": YARN | {"rope_theta": 10000.0}}),
    "rope-dynamic": (["dynamic"], LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "rope-longrope": (["longrope"], LLAMA | {"rope_scaling": LONG}),
    "rope-unknown": (["spiral"], LLAMA | {"rope_scaling": {"rope_type": "spiral", "factor": 2.0}}),
    "activation": (["gelu_new"], LLAMA | {"hidden_act": "gelu_new"}),
    "auto-map": (["auto_map"], LLAMA | {
        "model_type": "my_llama", "architectures": ["MyLlamaForCausalLM"],
        "auto_map": {"AutoConfig": "configuration.MyConfig", "AutoModelForCausalLM": "modeling.MyModel"},
    }),
    "gptq": (["gptq"], LLAMA | {"quantization_config": {
        "quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}}),
    "bitsandbytes": (["bitsandbytes"], LLAMA | {"quantization_config": {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}),
}
