// Grafana's packages in their CommonJS form: the default imports of theirs inside the other form do not hold outside a bundler of theirs.
import fs from 'node:fs';
import path from 'node:path';

const modules = (name) => path.resolve('node_modules', name);
const entry = (name) => {
  const common = `@grafana/${name}/dist/cjs/index.cjs`;
  return modules(fs.existsSync(modules(common)) ? common : `@grafana/${name}/dist/index.js`);
};
const grafana = ['ui', 'data', 'runtime', 'i18n', 'schema', 'e2e-selectors'].map((name) => ({
  find: new RegExp(`^@grafana/${name}$`), replacement: entry(name),
}));

export default {
  define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
  build: { outDir: 'dist', chunkSizeWarningLimit: 20000 },
  resolve: {
    alias: [...grafana, { find: /^react-router-dom(-v5-compat)?$/, replacement: modules('react-router-dom') }],
    dedupe: ['react', 'react-dom', 'rxjs'],
  },
};
