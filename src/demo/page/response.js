import { h, icon } from './dom.js';

const MOST_SHOWN = 200_000;
const TEXTUAL = /^(text\/|application\/([\w.+-]*\+)?(json|xml|javascript|x-www-form-urlencoded|x-ndjson))/i;

/** Shows one answer in `node`: `show` streams it in, `fail` says that none came. */
export function responseView(node) {
  node.replaceChildren(h('p', { class: 'waiting', role: 'status' }, 'Waiting for the answer…'));

  return {
    async show(response, platform, started) {
      const ours = response.headers.get('x-authkit-error');
      const time = h('span', {}, milliseconds(started));
      const size = h('span', {});
      const body = h('div', { class: 'body' });
      node.replaceChildren(
        h(
          'div',
          { class: 'answer-head', role: 'status' },
          h('span', { class: `status status-${Math.floor(response.status / 100)}` }, `${response.status} ${response.statusText}`.trim()),
          h('span', { class: 'who' }, ours ? 'answered by the gateway' : `answered by ${platform}`),
          h('span', { class: 'numbers' }, time, size),
        ),
        body,
        headersOf(response),
      );
      const text = await streamInto(body, response, size);
      time.textContent = milliseconds(started);
      finish(body, response, text);
    },

    fail(message) {
      node.replaceChildren(h('div', { class: 'problem', role: 'alert' }, h('strong', {}, 'No answer'), h('p', {}, message)));
    },
  };
}

/** Reads the body as it comes, showing text at once; resolves with the text, or undefined when it is not text. */
async function streamInto(node, response, size) {
  const pre = h('pre', { tabindex: '0', 'aria-label': 'Response body' });
  const textual = TEXTUAL.test(response.headers.get('content-type') ?? '');
  const decoder = new TextDecoder();
  let bytes = 0;
  let text = '';
  if (textual) node.replaceChildren(pre);
  for await (const chunk of chunksOf(response)) {
    bytes += chunk.length;
    size.textContent = readable(bytes);
    if (!textual || text.length > MOST_SHOWN) continue;
    const piece = decoder.decode(chunk, { stream: true });
    text += piece;
    pre.append(piece);
  }
  size.textContent = readable(bytes);
  if (bytes === 0) node.replaceChildren(h('p', { class: 'waiting' }, 'No body.'));
  else if (!textual) node.replaceChildren(h('p', { class: 'waiting' }, `Not text: ${response.headers.get('content-type') ?? 'no content type'}.`));
  return textual ? text : undefined;
}

// Safari cannot iterate over a ReadableStream.
async function* chunksOf(response) {
  const reader = response.body?.getReader();
  if (!reader) return;
  for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
}

function finish(node, response, text) {
  if (!text) return;
  if (text.length > MOST_SHOWN) return node.append(h('p', { class: 'waiting' }, 'The rest is not shown.'));
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    return;
  }
  if (response.headers.has('x-authkit-error')) node.prepend(problemCard(json));
  node.querySelector('pre').textContent = JSON.stringify(json, null, 2);
}

function problemCard({ title, detail, code, requestId, errors }) {
  return h(
    'div',
    { class: 'problem', role: 'alert' },
    h('strong', {}, icon('alert'), title ?? 'Something went wrong'),
    detail && h('p', {}, detail),
    Array.isArray(errors) && h('ul', {}, ...errors.map((item) => h('li', {}, h('code', {}, item.field ?? ''), ` ${item.message ?? ''}`))),
    h('p', { class: 'meta' }, code && h('span', {}, h('code', {}, code)), requestId && h('span', {}, `request ${requestId}`)),
  );
}

function headersOf(response) {
  const rows = [...response.headers].map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)));
  return h('details', {}, h('summary', {}, `${rows.length} response headers`), h('dl', { class: 'headers' }, ...rows));
}

function milliseconds(started) {
  return `${Math.round(performance.now() - started)} ms`;
}

function readable(bytes) {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KB`;
}
