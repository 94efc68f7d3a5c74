import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'src/persistence/generated/', '.tap/', '.test-build/', 'data/'] },
  ...tseslint.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      'no-control-regex': 'error',
      'no-constant-condition': ['error', { checkLoops: false }],
      'max-len': ['error', { code: 190, ignoreUrls: true, ignoreRegExpLiterals: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  { files: ['scripts/**', 'bench/**', 'sandbox/main.ts', 'src/server.ts', 'src/keys-cli.ts', 'src/db-copy.ts', 'src/db-migrate.ts'], rules: { 'no-console': 'off' } },
  { files: ['src/demo/page/**'], rules: { 'max-len': 'off' } },
  { files: ['test/**', 'sandbox/**'], rules: { '@typescript-eslint/no-explicit-any': 'off', 'max-len': ['error', { code: 260 }] } },
);
