// What the official JavaScript SDK sees of the server: whole, streamed, with tools, and its errors.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const said = "You said: What is the capital of France?";

const first = await client.chat.completions.create({ model: "rar", messages });
assert.equal(first.choices[0].message.content, said);
assert.equal(first.rar.model, "strong");

let text = "", facts;
for await (const chunk of await client.chat.completions.create({ model: "rar", messages, stream: true })) {
  facts ??= chunk.rar;
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, said);
assert.equal(facts.model, "weak");

const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const asked = [{ role: "user", content: "Use weather" }];
const called = await client.chat.completions.create({ model: "rar", messages: asked, tools });
const call = called.choices[0].message.tool_calls[0];
assert.equal(call.function.name, "weather");
const result = { role: "tool", tool_call_id: call.id, content: "sunny" };
const last = await client.chat.completions.create({
  model: "rar", tools, messages: [...asked, called.choices[0].message, result],
});
assert.equal(last.choices[0].message.content, "The tool said: sunny");
assert.equal(last.rar.reason, "sticky");

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.deepEqual(names, ["rar", "weak", "strong"]);

await assert.rejects(client.chat.completions.create({ model: "none", messages }), OpenAI.NotFoundError);
console.log("all is well");
