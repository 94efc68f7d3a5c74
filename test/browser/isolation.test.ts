import type { ServerResponse } from 'node:http';
import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { startGateway } from '../helpers/gateway.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';
import { launch, noBrowser } from './fixtures/chromium.js';

// A browser on a busy machine takes longer than tap's 30 seconds.
t.setTimeout(300_000);

const page = '<!doctype html><title>provider</title><p id="said">nothing</p><script>'
  + 'document.title = "ran"; document.getElementById("said").textContent = self.origin</script>';
const svg = '<svg xmlns="http://www.w3.org/2000/svg"><title>provider</title><script>document.documentElement.setAttribute("data-ran", self.origin)</script></svg>';

const answers: Record<string, (response: ServerResponse, identity: string) => void> = {
  inbox: (response, identity) => send(response, { 'cache-control': 'private, max-age=60', vary: 'accept' }, `mail of ${identity}`),
  clear: (response) => send(response, { 'clear-site-data': '"*"', refresh: '0; url=/healthz' }, 'ok'),
  html: (response) => send(response, { 'content-type': 'text/html', 'content-security-policy': 'script-src \'unsafe-inline\'' }, page),
  untyped: (response) => send(response, {}, page),
  svg: (response) => send(response, { 'content-type': 'image/svg+xml' }, svg),
  xml: (response) => send(response, { 'content-type': 'application/xml' }, `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>provider</title><script>document.title = "ran"</script></head></html>`),
};

function send(response: ServerResponse, headers: Record<string, string>, body: string): void {
  const named = Object.entries(headers).map(([name, value]) => [`x-pica-passthrough-${name}`, value]);
  response.writeHead(200, { 'x-pica-passthrough-x-provider': '1', ...Object.fromEntries(named) }).end(body);
}

t.test('a browser on the gateway\'s own origin', { skip: noBrowser }, async (t) => {
  const database = await openTestDatabase(t);
  const upstream = await startUpstream(t, (request, response) => {
    answers[request.url!.split('/').at(-1)!]!(response, String(request.headers['x-pica-connection-key']).split('|')[1]!);
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const keys: Record<string, string> = {};
  for (const identity of ['ann', 'bob']) {
    await storeConnection(gateway, 'gmail', identity);
    keys[identity] = await gateway.createKey(['proxy'], { identity });
  }
  const browser = await launch();
  t.teardown(() => browser.close());
  const tab = await browser.newPage();
  tab.setDefaultTimeout(60_000);
  await tab.goto(`${gateway.url}/docs/`);
  const get = (path: string, identity: string): Promise<string> => tab.evaluate(
    `fetch('/proxy/gmail/${path}', { headers: { 'x-api-key': '${keys[identity]}' } }).then((answer) => answer.text())`,
  );

  await t.test('the HTTP cache gives no identity another\'s answer', async (t) => {
    t.equal(await get('inbox', 'ann'), 'mail of ann');
    t.equal(await get('inbox', 'bob'), 'mail of bob');
    t.equal(await get('inbox', 'ann'), 'mail of ann');
  });

  await t.test('a provider clears nothing that is stored for our origin', async (t) => {
    await tab.evaluate('localStorage.setItem("kept", "yes")');
    t.equal(await get('clear', 'ann'), 'ok');
    t.equal(await tab.evaluate('localStorage.getItem("kept")'), 'yes');
  });

  await t.test('a provider\'s page, picture or script that is opened runs nothing', async (t) => {
    const identified = await browser.newContext({ extraHTTPHeaders: { 'x-api-key': keys['ann']! } });
    const opened = await identified.newPage();
    opened.setDefaultTimeout(60_000);
    for (const path of ['html', 'untyped', 'svg', 'xml']) {
      t.equal((await opened.goto(`${gateway.url}/proxy/gmail/${path}`))!.status(), 200);
      t.not(await opened.title(), 'ran', path);
      t.notMatch(await opened.content(), `data-ran="${gateway.url}"`, path);
      t.notMatch(await opened.evaluate('document.getElementById("said")?.textContent ?? ""'), gateway.url, path);
    }
    await identified.close();
  });

  await t.test('/docs renders under its policy', async (t) => {
    const docs = await browser.newPage();
    docs.setDefaultTimeout(60_000);
    const complaints: string[] = [];
    docs.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    docs.on('pageerror', (error) => complaints.push(error.message));
    for (const path of ['/docs', '/docs/']) {
      const answer = await docs.goto(`${gateway.url}${path}`);
      t.match(answer!.headers()['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/, path);
      await docs.locator('.opblock-summary-path', { hasText: '/connections/sync' }).waitFor();
      await docs.locator('.opblock', { hasText: '/connections/sync' }).locator('.opblock-summary').click();
      await docs.getByText('sync_in_progress').first().waitFor();
    }
    if (process.env['SCREENSHOT']) await docs.screenshot({ path: process.env['SCREENSHOT'], fullPage: false });
    t.same(complaints, []);
  });
});
