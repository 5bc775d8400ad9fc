import js from '@eslint/js';
import jupyter from '@jupyter/eslint-plugin';
import { defineConfig, globalIgnores } from 'eslint/config';
import reactHooks from 'eslint-plugin-react-hooks';
import globals from 'globals';
import ts from 'typescript-eslint';

export default defineConfig(
  globalIgnores([
    '**/node_modules',
    'lib',
    'kowalski_jupyter',
    'ui-tests/test-results'
  ]),
  js.configs.recommended,
  {
    files: ['labextension/src/**/*.{ts,tsx}'],
    extends: [
      ts.configs.strictTypeChecked,
      ts.configs.stylisticTypeChecked,
      reactHooks.configs.flat.recommended,
      jupyter.configs.recommended[0]
    ],
    plugins: { jupyter },
    languageOptions: {
      parserOptions: {
        projectService: true,
        tsconfigRootDir: import.meta.dirname
      }
    },
    rules: {
      // The whole extension is about 50 KB, and all of it is needed at once.
      'jupyter/prefer-lazy-imports': 'off',
      // Jupyter's convention: interfaces are named IThing.
      '@typescript-eslint/naming-convention': [
        'error',
        { selector: 'interface', format: ['PascalCase'], prefix: ['I'] }
      ],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true }
      ],
      // Command ids are a namespace, as everywhere in JupyterLab.
      '@typescript-eslint/no-namespace': 'off',
      // A token and its interface share a name, as everywhere in JupyterLab.
      '@typescript-eslint/no-redeclare': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true }
      ]
    }
  },
  {
    files: ['ui-tests/**/*.{js,mjs}', '*.mjs'],
    languageOptions: { globals: { ...globals.node, ...globals.browser } }
  }
);
