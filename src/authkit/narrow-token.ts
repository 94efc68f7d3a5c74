type Row = Record<string, unknown>;

/**
 * A token with its integrations narrowed to `platforms` (empty: all), in the shapes that list them: `rows[]` by `platform`,
 * and `linkSettings.connectedPlatforms[]` by `type` (upstream.md, "Issuing an AuthKit token"). The rest is left as it is,
 * the count of a list that is all on one page excepted.
 */
export function narrowToken(token: Row, platforms: readonly string[]): Row {
  if (platforms.length === 0) return token;
  const narrowed = { ...token };
  if (Array.isArray(token['rows'])) {
    const rows = keep(token['rows'], 'platform', platforms);
    narrowed['rows'] = rows;
    if (typeof token['total'] === 'number' && (token['pages'] ?? 1) === 1) narrowed['total'] = rows.length;
  }
  const settings = token['linkSettings'] as Row | undefined;
  if (Array.isArray(settings?.['connectedPlatforms'])) {
    narrowed['linkSettings'] = { ...settings, connectedPlatforms: keep(settings['connectedPlatforms'], 'type', platforms) };
  }
  return narrowed;
}

function keep(rows: unknown[], member: string, platforms: readonly string[]): unknown[] {
  return rows.filter((row) => platforms.includes(String((row as Row | null)?.[member])));
}
