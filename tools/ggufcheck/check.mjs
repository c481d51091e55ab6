// Called by check.sh: node check.mjs FOLDER PROMPTS. See there.
import fs from "node:fs";
import path from "node:path";
import {gguf, GGMLQuantizationType} from "@huggingface/gguf";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const [folder, prompts] = [process.argv[2], Number(process.argv[3])];
const file = (name) => path.join(folder, name);
const text = (name) => fs.readFileSync(file(name), "utf8").trim();
let failed = 0;
const check = (ok, what) => {
	console.log(`${ok ? "ok  " : "FAIL"} ${what}`);
	if (!ok) failed++;
};

// 1. Hugging Face's reader: the keys that llama.cpp asks for, and every tensor's type and shape.
for (const type of ["f32", "f16", "bf16", "q8_0"]) {
	const {metadata, tensorInfos} = await gguf(file(`merged-${type}.gguf`), {allowLocalFile: true});
	const q = tensorInfos.find((t) => t.name === "blk.0.attn_q.weight");
	const norm = tensorInfos.find((t) => t.name === "blk.0.post_ffw_norm.weight");
	check(metadata["general.architecture"] === "gemma3" && metadata["gemma3.block_count"] === 6 &&
		metadata["gemma3.attention.sliding_window"] === 128 && metadata["tokenizer.ggml.tokens"].length === 3072 &&
		metadata["tokenizer.ggml.bos_token_id"] === 2 && tensorInfos.length === 80 &&
		q.dtype === GGMLQuantizationType[type.toUpperCase()] && q.shape.join() === "160,160" &&
		norm.dtype === GGMLQuantizationType.F32, `@huggingface/gguf reads merged-${type}.gguf`);
}
{
	const {metadata, tensorInfos} = await gguf(file("adapter.gguf"), {allowLocalFile: true});
	check(metadata["general.type"] === "adapter" && metadata["adapter.type"] === "lora" && metadata["adapter.lora.alpha"] > 0 &&
		tensorInfos.some((t) => t.name === "blk.0.attn_q.weight.lora_a"), "@huggingface/gguf reads adapter.gguf");
}

// 2. llama.cpp: the same greedy text from f32 weights, which takes the same ids of the prompt. Rounded weights may choose
// another word where two are close; how far they go along is told.
// One thread: llama.cpp's threads wait in a loop, and on a busy machine a wait takes longer than the work.
const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error});
async function write(modelFile, lora, prompt) {
	const model = await llama.loadModel({modelPath: file(modelFile)});
	const context = await model.createContext({contextSize: 512, threads: 1, ...(lora ? {lora: file(lora)} : {})});
	const tokens = [model.tokens.bos, ...model.tokenize(`<start_of_turn>user\n${prompt}<end_of_turn>\n<start_of_turn>model\n`, true)];
	const out = [];
	for await (const token of context.getSequence().evaluate(tokens, {temperature: 0})) {
		if (model.isEogToken(token) || out.push(token) >= 60) break;
	}
	const written = model.detokenize(out).trim();
	await context.dispose();
	await model.dispose();
	return written;
}
const same = (a, b) => {
	let i = 0;
	while (i < a.length && i < b.length && a[i] === b[i]) i++;
	return i;
};
for (let i = 0; i < prompts; i++) {
	const prompt = text(`prompt.${i}`);
	for (const [model, lora, want] of [["base-f32.gguf", null, `base.${i}`], ["merged-f32.gguf", null, `tuned.${i}`],
		["base-f32.gguf", "adapter.gguf", `tuned.${i}`]]) {
		const got = await write(model, lora, prompt);
		check(got === text(want), `llama.cpp writes tune's text from ${model}${lora ? " with " + lora : ""}: ${JSON.stringify(prompt)}`);
		if (got !== text(want)) console.log(`     tune:      ${text(want)}\n     llama.cpp: ${got}`);
	}
	for (const type of ["f16", "bf16", "q8_0"]) {
		const got = await write(`merged-${type}.gguf`, null, prompt), want = text(`tuned.${i}`);
		console.log(`     merged-${type}.gguf: the first ${same(got, want)} of ${want.length} characters are tune's`);
		check(got.length > 0, `llama.cpp runs merged-${type}.gguf`);
	}
}
process.exit(failed > 0 ? 1 : 0);
