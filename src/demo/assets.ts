import { readFileSync } from 'node:fs';
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
 * it is installed; throws where it is not, since it is a development dependency (upstream.md, "The widget").
 */
export function loadAssets(): ReadonlyMap<string, Asset> {
  const assets = new Map(FILES.map((name) => [name, readAsset(new URL(`./page/${name}`, import.meta.url))]));
  assets.set('authkit.js', readAsset(widgetPackage()));
  return assets;
}

function readAsset(file: URL | string): Asset {
  return { content: readFileSync(file, 'utf8'), type: TYPES[extname(String(file))] ?? 'text/plain; charset=utf-8' };
}

function widgetPackage(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('@picahq/authkit')), 'index.esm.js');
  } catch (cause) {
    throw new Error('DEMO=true needs @picahq/authkit, a development dependency that is not installed here (the image has none); unset DEMO.', { cause });
  }
}
