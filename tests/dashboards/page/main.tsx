// One dashboard of ours in Grafana's own scenes: its query runner, variables, layout, units and widgets.
// ?board=NAME&prometheus=URL&from=now-5m ; window.report() tells what became of every panel.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router-dom';
import * as D from '@grafana/data';
import * as U from '@grafana/ui';
import * as S from '@grafana/scenes';
import { initPluginTranslations } from '@grafana/i18n';
import { Prometheus, asked, settings } from './prometheus';
import { register } from './registries';
import { plugins } from './widgets';

const said = new URLSearchParams(location.search);
const letter = (at: number) => String.fromCharCode(65 + at);

function variable(v: any) {
  if (v.type === 'datasource') {
    return new S.DataSourceVariable({ name: v.name, label: v.label, pluginId: v.query });
  }
  const query = typeof v.query === 'string' ? { query: v.query, refId: v.name } : v.query;
  const all = v.includeAll ? { value: '$__all', text: 'All' } : {};
  return new S.QueryVariable({
    name: v.name, label: v.label, query, datasource: v.datasource, includeAll: v.includeAll, isMulti: v.multi, regex: v.regex || '',
    allValue: v.allValue || undefined, refresh: v.refresh, sort: v.sort, hide: v.hide, ...all,
  });
}

function panel(p: any) {
  const queries = p.targets.map((target: any, at: number) => ({ ...target, refId: target.refId || letter(at) }));
  const runner = new S.SceneQueryRunner({ datasource: p.datasource, queries, maxDataPoints: p.maxDataPoints });
  const $data = p.transformations?.length ? new S.SceneDataTransformer({ $data: runner, transformations: p.transformations }) : runner;
  return new S.VizPanel({ pluginId: p.type, title: p.title, description: p.description, options: p.options ?? {}, fieldConfig: p.fieldConfig, $data });
}

function outcome(one: S.VizPanel) {
  const data = S.sceneGraph.getData(one).state.data;
  const numbers = (data?.series ?? []).flatMap((frame) => frame.fields.filter((field) => field.type === D.FieldType.number).flatMap((field) => [...field.values]));
  return {
    title: one.state.title, type: one.state.pluginId, state: data?.state, frames: data?.series?.length ?? 0,
    rows: (data?.series ?? []).reduce((sum, frame) => sum + frame.length, 0), finite: numbers.filter((n) => Number.isFinite(n)).length,
    numbers: numbers.length, latest: numbers.filter((n) => Number.isFinite(n)).slice(-1)[0],
    shown: (data?.series ?? []).slice(0, 6).map((frame) => {
      const field = frame.fields.find((found) => found.type === D.FieldType.number);
      return { name: field ? D.getFieldDisplayName(field, frame, data!.series) : frame.name, value: field?.values[field.values.length - 1] };
    }),
    error: data?.errors?.[0]?.message ?? (one.state as any)._pluginLoadError,
  };
}

async function draw() {
  await initPluginTranslations('grafana').catch(() => {});
  register(new Prometheus(said.get('prometheus')!), settings, plugins);
  const board = await (await fetch(`/boards/${said.get('board')}.json`)).json();
  const panels: S.VizPanel[] = [];
  const children = board.panels.map((p: any) => {
    if (p.type === 'row') {
      return new S.SceneGridRow({ title: p.title, y: p.gridPos.y, children: [], isCollapsed: false });
    }
    const body = panel(p);
    panels.push(body);
    return new S.SceneGridItem({ x: p.gridPos.x, y: p.gridPos.y, width: p.gridPos.w, height: p.gridPos.h, body });
  });
  const chosen = Object.fromEntries([...said].filter(([name]) => name.startsWith('var-')).map(([name, value]) => [name.slice(4), value]));
  const variables = (board.templating?.list ?? []).map(variable);
  variables.forEach((v: any) => chosen[v.state.name] && v.setState({ value: chosen[v.state.name], text: chosen[v.state.name] }));
  const scene = new S.EmbeddedScene({
    $timeRange: new S.SceneTimeRange({ from: said.get('from') ?? 'now-5m', to: 'now' }),
    $variables: new S.SceneVariableSet({ variables }),
    controls: [new S.VariableValueSelectors({}), new S.SceneControlsSpacer(), new S.SceneTimePicker({})],
    body: new S.SceneGridLayout({ children }),
  });
  (window as any).report = () => ({
    title: board.title, asked, panels: panels.map(outcome),
    variables: variables.map((v: any) => ({ name: v.state.name, value: v.state.value, text: v.state.text, options: v.state.options?.length })),
  });
  createRoot(document.getElementById('root')!).render(
    <D.ThemeContext.Provider value={D.createTheme({ colors: { mode: 'light' } })}>
      <U.GlobalStyles />
      <BrowserRouter>
        <U.PortalContainer />
        <div style={{ background: '#f4f5f5', padding: 8, minHeight: '100vh' }}>
          <h2 style={{ margin: '4px 8px' }}>{board.title}</h2>
          <scene.Component model={scene} />
        </div>
      </BrowserRouter>
    </D.ThemeContext.Provider>,
  );
}

draw();
