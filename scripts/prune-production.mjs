// Runs in the image build, on a production install: refuses what must not ship, then deletes what never runs.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

const packages = Object.entries(readJson('package-lock.json').packages).filter(([path]) => path && existsSync(`${path}/package.json`));
const refused = packages.filter(([path, { dev, devOptional }]) =>
  dev || devOptional || /GPL/i.test(JSON.stringify(readJson(`${path}/package.json`).license ?? '')));
if (packages.length === 0 || refused.length > 0) {
  console.error(`Must not ship: ${refused.map(([path]) => path).join(', ') || 'an empty node_modules'}`);
  process.exit(1);
}

const neverRuns = [
  /\.map$/,
  /\.d\.[cm]?ts$/,
  /^node_modules\/@types$/,
  /^node_modules\/(@[^/]+\/)?[^@/]+\/(tests?|docs|examples|benchmarks?)$/,
  // Prisma carries a query compiler for every database, twice; the generated client loads the one for Postgres.
  /^node_modules\/@prisma\/client\/runtime\/(query_compiler_(?!fast_bg\.postgresql\..*mjs$)|wasm-compiler-edge)/,
  // OpenTelemetry's copies for bundlers, and the names of its unstable conventions.
  /^node_modules\/@opentelemetry\/.*\/build\/(esm|esnext)$/,
  /^node_modules\/@opentelemetry\/semantic-conventions\/dist\/(experimental|index-incubating)/,
  // PGlite's CommonJS copy, and the extensions, none of which the schema uses.
  /^node_modules\/@electric-sql\/pglite\/dist\/.*(\.cjs|\.tar\.gz)$/,
];
const size = () => readdirSync('node_modules', { recursive: true }).length;
const before = size();
for (const path of readdirSync('node_modules', { recursive: true }).map((name) => `node_modules/${name}`)) {
  if (neverRuns.some((pattern) => pattern.test(path))) rmSync(path, { force: true, recursive: true });
}
console.log(`${packages.length} packages, none of them for development or under the GPL; ${before} files, ${size()} kept.`);
