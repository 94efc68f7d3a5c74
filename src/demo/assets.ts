import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';

/** A file of the page, read once at start. */
export type Asset = { content: string; type: string };

const FILES = [
  'index.html',
  ...['base.css', 'controls.css', 'connections.css', 'request.css', 'adapt.css'],
  ...['demo.js', 'connections.js', 'dom.js', 'identity.js', 'request.js', 'response.js', 'session.js', 'widget.js'],
];
const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
};

/**
 * Everything the page may load, by name; nothing else of the directory is ever served. `authkit.js` is the widget package as
 * it is installed, and missing where development dependencies are (the page then says so).
 */
export function loadAssets(): ReadonlyMap<string, Asset> {
  const assets = new Map(FILES.map((name) => [name, readAsset(new URL(`./page/${name}`, import.meta.url))]));
  const widget = widgetPackage();
  if (widget) assets.set('authkit.js', readAsset(widget));
  return assets;
}

function readAsset(file: URL | string): Asset {
  return { content: readFileSync(file, 'utf8'), type: TYPES[extname(String(file))] ?? 'text/plain; charset=utf-8' };
}

function widgetPackage(): string | undefined {
  try {
    const main = createRequire(import.meta.url).resolve('@picahq/authkit');
    const file = join(dirname(main), 'index.esm.js');
    return existsSync(file) ? file : undefined;
  } catch {
    return undefined;
  }
}
