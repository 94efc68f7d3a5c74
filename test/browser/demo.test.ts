import type { Page } from 'playwright-core';
import t from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { startGateway } from '../helpers/gateway.js';
import { launch, noBrowser } from './fixtures/chromium.js';

// A browser on a busy machine takes longer than tap's 30 seconds.
t.setTimeout(300_000);

t.test('the demo page', { skip: noBrowser }, async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const gateway = await startGateway(t, sandbox.url, { DEMO: 'true', DEMO_WIDGET_URL: sandbox.url });
  const browser = await launch();
  t.teardown(() => browser.close());
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  const stored = () => gateway.database.prisma.userConnection.findMany();

  await page.goto(`${gateway.url}/demo`);
  await page.getByText('Nothing connected yet').waitFor();

  await t.test('open, pick, allow: a row in the database and in the list', async (t) => {
    await connect(page, 'Gmail');
    await page.getByRole('listitem').filter({ hasText: 'operational' }).waitFor();
    const rows = await stored();
    t.match(rows, [{ identity: 'ada', platform: 'gmail', environment: 'test', state: 'operational' }]);
    t.match(await page.getByLabel('Connection', { exact: true }).locator('option').textContent(), new RegExp(`^Gmail \\(test\\) · …${rows[0]!.id.slice(-4)} · .*20\\d\\d`), 'told apart by id and time');
  });

  await t.test('a request goes through the connection and shows what came back', async (t) => {
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('answered by gmail').waitFor();
    await page.getByText(/^200/).waitFor();
    t.match(await page.getByLabel('The same request with curl').textContent(), /\/proxy\/gmail\/gmail\/v1\/users\/me\/messages/);
    const row = (await stored())[0]!;
    t.notOk((await page.content()).includes(row.key), 'the connection key never reaches the page');
  });

  await t.test('the gateway’s own refusals are told apart and readable', async (t) => {
    await page.getByLabel('Path').fill('..%2f..%2fvault/connections');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('answered by the gateway').waitFor();
    t.match(await page.locator('.problem').textContent(), /invalid_path/);
  });

  await t.test('identities are apart', async () => {
    await page.getByRole('button', { name: 'grace' }).click();
    await page.getByText('Nothing connected yet').waitFor();
    await page.getByRole('button', { name: 'ada' }).click();
    await page.getByRole('button', { name: 'Disconnect' }).waitFor();
  });

  await t.test('an expired key is renewed without a word', async (t) => {
    await gateway.database.prisma.apiKey.updateMany({ data: { revokedAt: new Date() } });
    await page.getByRole('button', { name: 'Sync with the vault' }).click();
    await page.getByText('In step with the vault').waitFor();
    t.equal((await stored()).length, 1);
  });

  await t.test('disconnect asks first, then removes it here and in the vault', async (t) => {
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    t.equal((await stored()).length, 1);
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Disconnect' }).click();
    await page.getByText('Nothing connected yet').waitFor();
    t.same(await stored(), []);
    const { total } = (await (await fetch(`${sandbox.url}/__control/connections`)).json()) as { total: number };
    t.equal(total, 0);
  });

  await t.test('the keyboard alone is enough', async (t) => {
    await page.getByRole('button', { name: 'Connect a tool' }).focus();
    await page.keyboard.press('Enter');
    const widget = page.frameLocator('#event-link');
    await widget.locator('input:focus').waitFor();
    await page.keyboard.type('slack');
    await page.keyboard.press('Enter');
    await widget.locator('input:focus').waitFor();
    await page.keyboard.press('Enter');
    await widget.locator('button:focus', { hasText: 'Done' }).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('#event-link').waitFor({ state: 'detached' });
    await page.locator('button:focus', { hasText: 'Connect a tool' }).waitFor();
    t.match(await stored(), [{ platform: 'slack' }]);
  });

  const unexpected = complaints.filter((text) => !/status of (400|401)/.test(text));
  t.same(unexpected, [], 'nothing on the console, the content security policy included');
});

async function connect(page: Page, tool: string): Promise<void> {
  await page.getByRole('button', { name: 'Connect a tool' }).click();
  const widget = page.frameLocator('#event-link');
  await widget.getByRole('option', { name: tool }).click();
  await widget.getByRole('button', { name: 'Allow' }).click();
  await widget.getByRole('button', { name: 'Done' }).click();
  await page.locator('#event-link').waitFor({ state: 'detached' });
}
