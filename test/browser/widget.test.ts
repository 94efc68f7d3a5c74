import type { Browser, FrameLocator, Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { launch, noBrowser } from './fixtures/chromium.js';
import { startHostPage } from './fixtures/host-page.js';

type Heard = { name: 'success' | 'error' | 'close'; message?: unknown };
type Stage = { gateway: Gateway; sandboxUrl: string; hostUrl: string; browser: Browser };

// A browser on a busy machine takes longer than tap's 30 seconds.
t.setTimeout(300_000);

// The real widget on an application's page, the real gateway and the real sandbox: three origins, as in production.
t.test('the widget', { skip: noBrowser }, async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url);
  const host = await startHostPage();
  t.teardown(() => host.close());
  const browser = await launch();
  t.teardown(() => browser.close());
  const stage = { gateway, sandboxUrl: sandbox.url, hostUrl: host.url, browser };

  await t.test('pick and allow: the application gets a record that the gateway stores', async (t) => {
    const { widget, heard } = await open(t, stage);
    await widget.getByRole('combobox').fill('gmail');
    await widget.getByRole('option', { name: 'Gmail' }).click();
    await widget.getByRole('button', { name: 'Allow' }).click();
    await widget.getByRole('heading', { name: 'Gmail is connected' }).waitFor();
    const [success] = await heard(1);
    t.match(success, { name: 'success', message: { platform: 'gmail', environment: 'test', identity: 'ada', key: /^test::gmail::/ } });
    const stored = await gateway.request('POST', '/connections', { json: success!.message, headers: { 'x-identity': 'ada' } });
    t.equal(stored.status, 201);
    t.match(await rows(gateway, 'gmail'), [{ identity: 'ada', key: (success!.message as { key: string }).key }]);
  });

  await t.test('deny: onError is called and nothing is stored', async (t) => {
    const { widget, heard } = await open(t, stage, { selectedConnection: 'Slack' });
    await widget.getByRole('button', { name: 'Deny' }).click();
    await widget.getByRole('heading', { name: 'Access denied' }).waitFor();
    t.same(await heard(1), [{ name: 'error', message: 'Access to Slack was denied.' }]);
    await widget.getByRole('button', { name: 'Try again' }).click();
    await widget.getByRole('heading', { name: 'Connect Slack' }).waitFor();
    t.same(await vault(sandbox.url, 'slack'), []);
  });

  await t.test('a wrong token: the error screen says so, onError is called, close ends it', async (t) => {
    const { page, widget, heard } = await open(t, stage, {}, 'agk_wrong');
    await widget.getByText('HTTP 401 · unauthorized').waitFor();
    t.match(await heard(1), [{ name: 'error', message: /HTTP 401/ }]);
    await widget.getByRole('button', { name: 'Close' }).last().click();
    await page.locator('#event-link').waitFor({ state: 'detached' });
    t.match(await heard(2), [{ name: 'error' }, { name: 'close' }]);
  });

  await t.test('try again after an outage loads the tools', async (t) => {
    const fault = { path: '/internal/v1/settings/get', kind: 'status', status: 503 };
    await fetch(`${sandbox.url}/__control/faults`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(fault) });
    const { widget } = await open(t, stage);
    await widget.getByText('HTTP 502').waitFor();
    await widget.getByRole('button', { name: 'Try again' }).click();
    await widget.getByRole('option').first().waitFor();
  });

  await t.test('an API key: a refused one can be mended in place', async (t) => {
    const { widget, heard } = await open(t, stage, { selectedConnection: 'OpenAI', showNameInput: true });
    const field = widget.getByRole('textbox', { name: 'API key' });
    await widget.getByRole('button', { name: 'Connect' }).click();
    await widget.getByText('This is needed to connect.').waitFor();
    await field.fill('an-invalid-key');
    await field.press('Enter');
    await widget.getByText('OpenAI did not accept this API key.').waitFor();
    t.same(await heard(0), []);
    await field.fill('a-good-key');
    await widget.getByRole('textbox', { name: 'Name' }).fill('Research');
    await field.press('Enter');
    await widget.getByRole('heading', { name: 'OpenAI is connected' }).waitFor();
    t.match(await heard(1), [{ name: 'success', message: { platform: 'openai', name: 'Research' } }]);
  });

  await t.test('the other shape of token, from AUTHKIT_TOKEN_SOURCE=http, does as well', async (t) => {
    const http = await startGateway(t, sandbox.url, { AUTHKIT_TOKEN_SOURCE: 'http' });
    const { widget, heard } = await open(t, { ...stage, gateway: http });
    await widget.getByRole('option', { name: 'Notion' }).click();
    await widget.getByRole('button', { name: 'Allow' }).click();
    t.match(await heard(1), [{ name: 'success', message: { platform: 'notion', identity: 'ada' } }]);
  });

  await t.test('selectedConnection that nobody has: the list', async (t) => {
    const { widget } = await open(t, stage, { selectedConnection: 'No such tool' });
    t.ok((await widget.getByRole('option').count()) >= 40);
    await widget.getByRole('radio', { name: 'CRM' }).check({ force: true });
    await widget.getByRole('option', { name: 'Gmail' }).waitFor({ state: 'detached' });
    await widget.getByRole('option', { name: 'HubSpot' }).waitFor();
    await widget.getByRole('combobox').fill('zzz');
    await widget.getByText('No tool matches “zzz”.').waitFor();
  });

  await t.test('the keyboard alone is enough, and never leaves the dialog', async (t) => {
    const { page, widget, heard } = await open(t, stage);
    await widget.locator('input:focus').waitFor();
    await page.keyboard.type('git');
    await page.keyboard.press('ArrowDown');
    const picked = await widget.locator('[role=option][aria-selected=true]').getAttribute('data-platform');
    await page.keyboard.press('Enter');
    await widget.getByRole('button', { name: 'Allow' }).waitFor();
    for (let stops = 0; stops < 8; stops += 1) {
      await page.keyboard.press('Tab');
      t.equal(await widget.locator('[role=dialog] :focus').count(), 1);
    }
    await widget.getByRole('button', { name: 'Allow' }).press('Enter');
    await widget.locator('button:focus', { hasText: 'Done' }).waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#event-link').waitFor({ state: 'detached' });
    t.match(await heard(2), [{ name: 'success', message: { platform: picked } }, { name: 'close' }]);
  });
});

/** Opens the widget on the application's page for the identity ada, or with the credential given. */
async function open(t: Test, stage: Stage, options: object = {}, credential?: string): Promise<{ page: Page; widget: FrameLocator; heard(count: number): Promise<Heard[]> }> {
  const { gateway, sandboxUrl, hostUrl, browser } = stage;
  const key = credential ?? (await gateway.createKey(['authkit:token'], { identity: 'ada' }));
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  t.teardown(() => page.close());
  await page.goto(hostUrl);
  await page.waitForFunction('window.openWidget');
  const token = { url: `${gateway.url}/authkit/token`, headers: { 'x-api-key': key } };
  await page.evaluate(`window.openWidget(${JSON.stringify({ token, baseUrl: sandboxUrl, ...options })})`);
  const widget = page.frameLocator('#event-link');
  await widget.locator('#card:not([data-screen=loading])').waitFor();
  const heard = async (count: number): Promise<Heard[]> => {
    await page.waitForFunction(`window.heard.length >= ${count}`);
    return page.evaluate('window.heard');
  };
  return { page, widget, heard };
}

async function rows(gateway: Gateway, platform: string): Promise<unknown[]> {
  return gateway.database.prisma.userConnection.findMany({ where: { platform } });
}

async function vault(sandboxUrl: string, platform: string): Promise<unknown[]> {
  const { rows } = (await (await fetch(`${sandboxUrl}/__control/connections`)).json()) as { rows: { platform: string }[] };
  return rows.filter((row) => row.platform === platform);
}
