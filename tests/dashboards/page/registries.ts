// What Grafana's application registers before the first panel: editors, properties of fields, transformations, events.
import * as D from '@grafana/data';
import * as R from '@grafana/runtime';
import { catchError, from, map, of, startWith } from 'rxjs';

const EDITORS = ['text', 'number', 'slider', 'select', 'multi-select', 'radio', 'boolean', 'color', 'unit', 'fieldColor', 'mappings', 'thresholds',
  'links', 'stats-picker', 'strings', 'timezone', 'data-links', 'field-name', 'dashboard-uid', 'action'];
const THRESHOLDS = { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }] };

const property = (id: string, process: any, defaultValue?: any): any => ({
  id, defaultValue, path: id, name: id, description: '', category: [], editor: () => null, override: () => null, process,
  shouldApply: () => true, settings: {},
});

// Grafana's application has this one, its packages do not.
const partitionByValues: any = {
  id: 'partitionByValues', name: 'Partition by values', description: '', defaultOptions: {},
  operator: (options: any) => (source: any) => source.pipe(map((frames: any) => frames.flatMap((frame: any) => split(frame, options.fields ?? [])))),
};

function split(frame: any, names: string[]): any[] {
  const keys = frame.fields.filter((field: any) => names.includes(field.name));
  const groups = new Map<string, number[]>();
  for (let row = 0; row < frame.length; row++) {
    const key = keys.map((field: any) => field.values[row]).join(' ');
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups].map(([name, rows]) => ({
    ...frame, name, length: rows.length,
    fields: frame.fields.filter((field: any) => !keys.includes(field)).map((field: any) => ({
      ...field, labels: { group: name }, values: rows.map((row) => field.values[row]), state: undefined,
    })),
  }));
}

export function register(source: any, settings: any, plugins: Record<string, any>) {
  R.setDataSourceSrv({ get: async () => source, getList: () => [settings], getInstanceSettings: () => settings, reload() {}, registerRuntimeDataSource() {} } as any);
  (R as any).setAppEvents?.(new D.EventBusSrv());
  R.setRunRequest(((from_: any, request: any) => {
    const base = { timeRange: request.range, request, series: [] as any[] };
    return from(from_.query(request) as any).pipe(
      map((answer: any) => ({ ...base, series: answer.data, state: D.LoadingState.Done })),
      startWith({ ...base, state: D.LoadingState.Loading }),
      catchError((error: any) => of({ ...base, state: D.LoadingState.Error, errors: [{ message: error.message }] })),
    );
  }) as any);
  D.standardEditorsRegistry.setInit(() => EDITORS.map((id) => ({ id, name: id, editor: () => null })) as any);
  D.standardFieldConfigEditorRegistry.setInit(() => [
    property('displayName', D.displayNameOverrideProcessor), property('unit', D.unitOverrideProcessor), property('min', D.numberOverrideProcessor),
    property('max', D.numberOverrideProcessor), property('decimals', D.numberOverrideProcessor), property('thresholds', D.thresholdsOverrideProcessor, THRESHOLDS),
    property('mappings', D.valueMappingsOverrideProcessor), property('color', D.identityOverrideProcessor, { mode: 'palette-classic' }),
    property('noValue', D.stringOverrideProcessor), property('links', D.dataLinksOverrideProcessor),
  ] as any);
  const known = [...new Set<any>(Object.values(D.standardTransformers))].map((one: any) => ({ id: one.id, name: one.name, transformation: async () => one, editor: () => null }));
  D.standardTransformersRegistry.setInit(() => [...known, { id: 'partitionByValues', name: '', transformation: async () => partitionByValues, editor: () => null }] as any);
  R.setPluginImportUtils({
    importPanelPlugin: async (id: string) => {
      if (!plugins[id]) {
        throw new Error(`panel plugin not provided: ${id}`);
      }
      return plugins[id];
    },
    getPanelPluginFromCache: (id: string) => plugins[id],
  } as any);
}
