import { routed } from './route.js';

const REPOSITORIES = [
  repository(70107786, 'api', 'The public API', 'TypeScript', 214),
  repository(70107787, 'web', 'Marketing site and docs', 'Astro', 96),
  repository(70107788, 'infra', 'Terraform and runbooks', 'HCL', 31),
];

function repository(id: number, name: string, description: string, language: string, stars: number) {
  return {
    id, name, full_name: `acme/${name}`, private: false, description, language, stargazers_count: stars, default_branch: 'main',
    html_url: `https://github.example/acme/${name}`,
  };
}

/** A little of GitHub's API. */
export const github = routed([
  {
    method: 'GET',
    path: /\/user$/,
    answer: (_groups, { connection }) => ({ login: connection.identity ?? 'sandbox', id: 583231, type: 'User', public_repos: 3, followers: 42 }),
  },
  { method: 'GET', path: /\/user\/repos$/, answer: () => REPOSITORIES },
  {
    method: 'GET',
    path: /\/repos\/[^/]+\/([^/]+)\/issues$/,
    answer: ([name = '']) => [
      { number: 128, title: `Timeouts when ${name} exports 10k rows`, state: 'open', user: { login: 'adapark' }, labels: [{ name: 'bug' }] },
      { number: 131, title: 'Document the retry policy', state: 'open', user: { login: 'luisf' }, labels: [{ name: 'docs' }] },
    ],
  },
]);
