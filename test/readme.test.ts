import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { EnvironmentSchema } from '../src/config.js';
import { freePort, runProgram, untilAnswers } from './helpers/process.js';

const readme = await readFile('README.md', 'utf8');
const noCurl = spawnSync('curl', ['--version']).error || spawnSync('bash', ['--version']).error ? 'needs curl and bash' : false;

t.test('every call of the README works as printed against npm run dev', { skip: noCurl }, async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'readme-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  const env = { PORT: String(await freePort()), SANDBOX_PORT: String(await freePort()), DATA_DIR: dataDir };
  const program = runProgram(t, 'scripts/dev.ts', env);
  await untilAnswers(program, `http://localhost:${env.PORT}/readyz`);
  while (!program.output().includes('Ctrl-C')) await new Promise((resolve) => setTimeout(resolve, 50));

  const url = `http://localhost:${env.PORT}`;
  const key = /Key +(\S+)/.exec(program.output())![1]!;
  // As whoever has clicked through the demo first has it.
  for (const identity of ['ada', 'grace', 'linus']) {
    await fetch(`http://127.0.0.1:${env.SANDBOX_PORT}/__control/connections`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ identity, platform: 'gmail' }),
    });
    t.match(await (await fetch(`${url}/connections/sync`, { method: 'POST', headers: { 'x-api-key': key, 'x-user-id': identity } })).json(), { created: 1 });
  }

  const block = /<!-- test\/readme\.test\.ts runs this block\. -->\n```sh\n([\s\S]+?)```/.exec(readme)![1]!;
  const calls = block.match(/^curl/gm)!.length;
  const run = spawnSync('bash', ['-e', '-o', 'pipefail', '-c', block.replace(/^curl /gm, 'echo; echo CALL; curl ')], {
    env: { PATH: process.env['PATH'], URL: url, KEY: key, SANDBOX: `http://127.0.0.1:${env.SANDBOX_PORT}` }, encoding: 'utf8',
  });
  t.equal(run.status, 0, `${run.stdout.slice(-2000)}${run.stderr}`);
  t.equal(run.stdout.match(/^CALL$/gm)!.length, calls);
  t.match(run.stdout, /"name":"Inbox"/);
  t.match(run.stdout, /messages/);
});

t.test('the README names every variable and only scripts that exist', async (t) => {
  for (const name of Object.keys(EnvironmentSchema.properties)) t.match(readme, `\`${name}\``, name);
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as { scripts: Record<string, string> };
  for (const [, name] of readme.matchAll(/npm run ([\w:-]+)/g)) t.ok(name! in scripts, name!);
});
