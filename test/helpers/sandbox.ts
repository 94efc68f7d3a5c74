/** What the sandbox recorded of one request it received. */
export type Recording = { method: string; url: string; rawHeaders: [string, string][]; headers: Record<string, string>; body: string };

/** Queues a fault at the sandbox; see sandbox/README.md for the kinds. */
export async function fault(sandbox: string, description: Record<string, unknown>): Promise<void> {
  await control(sandbox, 'POST', '/__control/faults', description);
}

/** Puts a connection into the sandbox's vault and returns its row. */
export async function seed(sandbox: string, row: Record<string, unknown>): Promise<{ id: string; key: string } & Record<string, unknown>> {
  return await control(sandbox, 'POST', '/__control/connections', { identityType: 'user', environment: 'test', ...row }) as { id: string; key: string };
}

/** Requests the sandbox received on paths that start with `path`, oldest first. */
export async function recordings(sandbox: string, path: string): Promise<Recording[]> {
  const answer = await fetch(`${sandbox}/__control/requests?path=${encodeURIComponent(path)}`);
  const { rows } = await answer.json() as { rows: { method: string; url: string; rawHeaders: [string, string][]; body: string }[] };
  return rows.map((row) => ({
    ...row,
    headers: Object.fromEntries(row.rawHeaders.map(([name, value]) => [name.toLowerCase(), value])),
    body: Buffer.from(row.body, 'base64').toString(),
  }));
}

/** Changes the sandbox's settings, such as `rowShape`. */
export async function settings(sandbox: string, change: Record<string, unknown>): Promise<void> {
  await control(sandbox, 'PATCH', '/__control/settings', change);
}

async function control(sandbox: string, method: string, path: string, body: unknown): Promise<unknown> {
  const answer = await fetch(`${sandbox}${path}`, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? undefined : answer.json();
}
