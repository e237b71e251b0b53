import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'
import Component from './Component.vue'

async function withOne(title: string) {
  const found = mount(Component)
  await found.get('input').setValue(title)
  await found.get('form').trigger('submit')
  return found
}

test('what is written is added, without the white space around it', async () => {
  const found = await withOne('  milk ')
  expect(found.findAll('li').map((each) => each.text())).toEqual(['milk'])
  expect(found.get('p').text()).toBe('1 left')
})

test('nothing is added for nothing', async () => {
  expect((await withOne('  ')).findAll('li')).toHaveLength(0)
})

test('a click marks it as done, another one as open', async () => {
  const found = await withOne('milk')
  await found.get('li').trigger('click')
  expect(found.get('p').text()).toBe('0 left')
  expect(found.get('li').classes()).toContain('done')
  await found.get('li').trigger('click')
  expect(found.get('p').text()).toBe('1 left')
})
